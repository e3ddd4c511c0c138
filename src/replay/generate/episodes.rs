//! Episodes: when campaigns, look-alikes and floods begin, and how many alerts they are.
//!
//! State: a few numbers for each episode. Its alerts are told anew when its time comes.

use super::background::HOUR_MS;
use super::dice::{Dice, key};
use super::event::{Event, Label, UseCase};
use super::script::{Means, Script};
use super::site::Site;
use super::{campaigns, lookalikes};
use crate::record::{Millis, Triage};

/// What kind of thing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Campaign(UseCase),
    LookAlike(UseCase),
    /// That many alerts of one rule.
    Flood(u64),
}

/// Something that happens beside the background.
#[derive(Clone, Copy, Debug)]
pub(super) struct Episode {
    pub(super) kind: Kind,
    pub(super) start: Millis,
    /// What all of it is a function of.
    key: u64,
    site: u32,
    /// Its number in `truth.jsonl`, from 1.
    number: u32,
    /// How many alerts it is.
    pub(super) alerts: u64,
}

/// The span that is generated.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Millis,
    /// Exclusive.
    pub(super) to: Millis,
}

impl Episode {
    /// Its alerts in order of time, none beyond the span.
    pub(super) fn tell(&self, sites: &[Site], span: Span) -> Vec<Event> {
        let site = &sites[self.site as usize];
        let label = |use_case, triage| Some(Label { use_case, campaign: self.number, triage });
        let label = match self.kind {
            Kind::Campaign(use_case) => label(use_case, Triage::TruePositive),
            Kind::LookAlike(use_case) => label(use_case, Triage::BenignPositive),
            Kind::Flood(_) => None,
        };
        let mut script = Script::new(site, self.key, self.start, label);
        match self.kind {
            Kind::Campaign(use_case) => campaigns::tell(&mut script, use_case),
            Kind::LookAlike(use_case) => lookalikes::tell(&mut script, use_case),
            Kind::Flood(count) => lookalikes::flood(&mut script, count),
        }
        let mut events = script.end();
        events.retain(|event| event.time < span.to);
        events
    }

    /// What its attacker works with; none where there is no attacker.
    pub(super) fn attacker(&self) -> Option<Means> {
        matches!(self.kind, Kind::Campaign(_)).then(|| Means::of(self.key))
    }
}

/// The episodes of a run of `alerts` alerts, by start; together at most 30 % of them. Campaigns as many as asked for.
pub(super) fn plan(
    seed: u64,
    alerts: u64,
    campaigns: Option<u32>,
    sites: &[Site],
    span: Span,
) -> Vec<Episode> {
    // Ten campaigns for a day of 50,000 alerts; small runs get two of each kind where they can hold them.
    let usual = || if alerts < 500 { 0 } else { (alerts / 5_000).max((alerts / 1_000).clamp(1, 8)) };
    let campaigns = campaigns.map_or_else(usual, u64::from);
    let look_alikes = campaigns * 6 / 5;
    let floods = if alerts < 5_000 { 0 } else { alerts / 25_000 + 1 };
    let mut wanted: Vec<(Kind, u64, u64)> = Vec::new();
    for (class, count) in [(0u64, campaigns), (1, look_alikes), (2, floods)] {
        let turn = Dice::of(&[seed, 0x70, class]).below(4);
        for at in 0..count {
            let use_case = UseCase::ALL[usize::try_from((at + turn) % 4).unwrap_or(0)];
            let kind = match class {
                0 => Kind::Campaign(use_case),
                1 => Kind::LookAlike(use_case),
                _ => Kind::Flood(Dice::of(&[seed, 0xf1, at]).between(150, 1_500).min(alerts / 40)),
            };
            wanted.push((kind, at, count));
        }
    }
    let mut episodes: Vec<Episode> =
        wanted.into_iter().map(|(kind, at, count)| begin(seed, kind, at, count, sites, span)).collect();
    episodes.sort_by_key(|episode| (episode.start, episode.key));
    let mut left = alerts * 3 / 10;
    let mut number = 0;
    episodes.retain_mut(|episode| {
        episode.number = number + 1;
        episode.alerts = episode.tell(sites, span).len() as u64;
        // What the span's end leaves fewer than three alerts of is no story.
        let fits = episode.alerts >= 3 && episode.alerts <= left;
        if fits {
            left -= episode.alerts;
            number += u32::from(!matches!(episode.kind, Kind::Flood(_)));
        }
        fits
    });
    episodes
}

/// The `at`th of `count` episodes of its kind: spread over the span, all but every tenth after the first day (of a
/// short span: the first third), so that what is usual could be learned before.
fn begin(seed: u64, kind: Kind, at: u64, count: u64, sites: &[Site], span: Span) -> Episode {
    let class = match kind {
        Kind::Campaign(_) => 0,
        Kind::LookAlike(_) => 1,
        Kind::Flood(_) => 2,
    };
    let key = key(&[seed, 0xe9, class, at]);
    let mut dice = Dice::of(&[key, 0x57]);
    let length = span.to - span.from;
    let quiet = (24 * HOUR_MS).min(length / 3);
    let early = at % 10 == 9;
    let first = if early { quiet / 2 } else { quiet };
    // The last sixth of a day is left for what has begun to come to its end.
    let room = (length - first - (4 * HOUR_MS).min(length / 6)).max(1);
    let share = room / count.max(1).cast_signed();
    let start = span.from + first + share * at.cast_signed() + dice.span(0, share.max(1) - 1);
    let start = match kind {
        Kind::Campaign(UseCase::Phishing) | Kind::LookAlike(_) => into_the_day(start, &mut dice, span),
        Kind::Campaign(_) | Kind::Flood(_) => start,
    };
    let site = u32::try_from(dice.index(sites.len())).unwrap_or(0);
    Episode { kind, start, key, site, number: 0, alerts: 0 }
}

/// People act by day: what would begin at night begins in the morning, where the span has one left.
fn into_the_day(start: Millis, dice: &mut Dice, span: Span) -> Millis {
    let clock = start.div_euclid(HOUR_MS).rem_euclid(24);
    let later = match clock {
        0..=6 => start + (8 - clock) * HOUR_MS + dice.span(0, HOUR_MS),
        19..=23 => start + (32 - clock) * HOUR_MS + dice.span(0, HOUR_MS),
        _ => start,
    };
    if later + 4 * HOUR_MS < span.to { later } else { start }
}
