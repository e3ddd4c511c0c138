//! Background: what a site's products say on a day on which nothing happens.
//!
//! A site is the sum of *habits*: one rule on one host for one account, with a rate, a rhythm and a style. Rates are
//! heavy-tailed, so that a few pairs of host and rule make most of the volume; nearly all pairs come again every day. On
//! top come *oddities*: any rule, anywhere, once.
//!
//! State: the habits, one entry for each pair of host and rule. An hour's events are made at a time.

use super::detections::{ALL, Detection};
use super::dice::{Dice, MILLION, key};
use super::event::Event;
use super::habits::{Habit, Rhythm, Style, habits_of};
use super::site::Site;
use crate::record::Millis;

pub(super) const HOUR_MS: Millis = 3_600_000;

/// The background of all sites, made to come to an exact number of events.
pub(super) struct Background {
    seed: u64,
    hours: u64,
    habits: Vec<Habit>,
    /// Sums of the habits' rates (thousandths an hour) for each rhythm.
    rhythms: Vec<(Rhythm, u64)>,
    /// What the habits' unscaled rates come to over all hours, in `rate * weight`.
    whole: u128,
    /// The same up to the hour that is next.
    so_far: u128,
    habitual: u64,
    habitual_made: u64,
    odd: u64,
}

impl Background {
    /// The background of `sites` over `hours`, of `total` events.
    pub(super) fn new(seed: u64, sites: &[Site], hours: u64, total: u64) -> Background {
        let hosts: u64 = sites.iter().map(|site| site.hosts.len() as u64).sum();
        // An oddity for every host in four days, and never more than a fiftieth of all.
        let odd = (hosts * hours / 96).min(total / 50);
        let habitual = total - odd;
        let mut habits: Vec<Habit> = sites.iter().flat_map(|site| habits_of(seed, site)).collect();
        let weight = |rhythm: Rhythm| (0..hours).map(|hour| u128::from(rhythm.weight(hour))).sum::<u128>();
        let sum = |habits: &[Habit]| {
            let rhythms = rates(habits);
            let whole =
                rhythms.iter().map(|(rhythm, rate)| u128::from(*rate) * weight(*rhythm)).sum::<u128>();
            (rhythms, whole)
        };
        let wanted = u128::from(habitual) * UNIT;
        let quiet: Vec<Habit> =
            habits.iter().map(|habit| Habit { rate: habit.rate.min(LOUD), ..*habit }).collect();
        let (loud, quiet) = (sum(&habits).1, sum(&quiet).1);
        hush(&mut habits, wanted, loud, quiet);
        let whole = sum(&habits).1;
        thin(&mut habits, seed, wanted, whole);
        let (rhythms, whole) = sum(&habits);
        Background { seed, hours, habits, rhythms, whole, so_far: 0, habitual, habitual_made: 0, odd }
    }

    /// Appends the events of `hour`, the first millisecond of which is `start`. Hours must be asked for in order.
    pub(super) fn hour(&mut self, hour: u64, start: Millis, sites: &[Site], events: &mut Vec<Event>) {
        let before = events.len();
        for at in 0..self.habits.len() {
            self.follow(at, hour, start, sites, events);
        }
        let now: u128 = self
            .rhythms
            .iter()
            .map(|(rhythm, rate)| u128::from(*rate) * u128::from(rhythm.weight(hour)))
            .sum();
        self.so_far += now;
        let wanted = if hour + 1 == self.hours || self.whole == 0 {
            self.habitual
        } else {
            u64::try_from(u128::from(self.habitual) * self.so_far / self.whole).unwrap_or(self.habitual)
        };
        let wanted = usize::try_from(wanted - self.habitual_made).unwrap_or(0);
        self.habitual_made += wanted as u64;
        self.level(hour, start, sites, events, before, wanted);
        let odd = self.odd * (hour + 1) / self.hours - self.odd * hour / self.hours;
        for at in 0..odd {
            events.push(self.oddity(hour, at, start, sites));
        }
    }

    /// What one habit does in an hour.
    fn follow(&self, at: usize, hour: u64, start: Millis, sites: &[Site], events: &mut Vec<Event>) {
        let habit = &self.habits[at];
        let weight = habit.rhythm.weight(hour);
        if weight == 0 || self.whole == 0 {
            return;
        }
        let mut dice = Dice::of(&[self.seed, 0xb6, at as u64, hour]);
        // Millionths of an event, then rounded up or down by chance: unbiased, and integers all the way.
        let mut expected =
            u128::from(habit.rate) * u128::from(weight) * u128::from(self.habitual) * u128::from(MILLION)
                / self.whole;
        if habit.style != Style::Periodic {
            expected = expected * u128::from(dice.between(40, 160)) / 100;
        }
        let expected = u64::try_from(expected).unwrap_or(0);
        let count = (expected + dice.below(MILLION)) / MILLION;
        let window = dice.span(0, HOUR_MS - 300_000);
        for turn in 0..count {
            let within = match habit.style {
                Style::Periodic => periodic(habit.phase, turn, count) + dice.span(0, 1_500),
                Style::Scattered => dice.span(0, HOUR_MS - 1),
                Style::Burst => window + dice.span(0, 299_999),
            };
            let mut event =
                Event::new(start + within.min(HOUR_MS - 1), habit.rule, habit.site, habit.host, habit.user);
            event.dress(&sites[habit.site as usize], &mut dice);
            events.push(event);
        }
    }

    /// Makes the habits' part of an hour exactly `wanted` long: takes some away, or lets the loudest say more.
    fn level(
        &self,
        hour: u64,
        start: Millis,
        sites: &[Site],
        events: &mut Vec<Event>,
        before: usize,
        wanted: usize,
    ) {
        let mut dice = Dice::of(&[self.seed, 0x1e, hour]);
        while events.len() - before > wanted {
            let at = before + dice.index(events.len() - before);
            events.swap_remove(at);
        }
        while events.len() - before < wanted {
            let Some(habit) = self.loud(hour, &mut dice) else { break };
            let time = start + dice.span(0, HOUR_MS - 1);
            let mut event = Event::new(time, habit.rule, habit.site, habit.host, habit.user);
            event.dress(&sites[habit.site as usize], &mut dice);
            events.push(event);
        }
    }

    /// A habit that is active now, the loudest of a few.
    fn loud(&self, hour: u64, dice: &mut Dice) -> Option<&Habit> {
        (0..24)
            .map(|_| dice.index(self.habits.len()))
            .filter_map(|at| self.habits.get(at))
            .max_by_key(|habit| habit.rate * habit.rhythm.weight(hour))
    }

    fn oddity(&self, hour: u64, at: u64, start: Millis, sites: &[Site]) -> Event {
        let mut dice = Dice::of(&[self.seed, 0x0d, hour, at]);
        let site = &sites[dice.index(sites.len())];
        let host = u32::try_from(dice.index(site.hosts.len())).unwrap_or(0);
        let user = site.user_of(host, &mut dice);
        let rule: Detection = dice.pick(ALL);
        let mut event = Event::new(start + dice.span(0, HOUR_MS - 1), rule, site.index, host, user);
        if dice.chance(300_000) {
            // A file or a site that nobody has seen before need not be an attack.
            (event.file, event.domain) = (dice.bits(), dice.bits());
        }
        event.dress(site, &mut dice);
        event
    }
}

/// A habit's rate is in thousandths an hour, its weight in thousandths.
const UNIT: u128 = 1_000_000;

/// From one event an hour on, a habit is loud.
const LOUD: u64 = 1_000;

/// Where there are too few events for all habits, takes from what the loud ones say beyond [`LOUD`], so that the quiet ones
/// and the day's rhythm stay. `whole` is what all habits come to, `quiet` what they would without the excess.
fn hush(habits: &mut [Habit], wanted: u128, whole: u128, quiet: u128) {
    if wanted >= whole || whole == quiet {
        return;
    }
    let kept = u64::try_from(wanted.saturating_sub(quiet) * u128::from(MILLION) / (whole - quiet))
        .unwrap_or(MILLION);
    for habit in habits.iter_mut().filter(|habit| habit.rate > LOUD) {
        habit.rate = LOUD + (habit.rate - LOUD) * kept / MILLION;
    }
}

/// Where there are still too few, keeps some of them whole, rather than all of them rare.
fn thin(habits: &mut Vec<Habit>, seed: u64, wanted: u128, whole: u128) {
    if wanted >= whole || whole == 0 {
        return;
    }
    let keep = u64::try_from(wanted * u128::from(MILLION) / whole).unwrap_or(MILLION);
    let first = habits.first().copied();
    habits.retain(|habit| {
        key(&[seed, 0x71, u64::from(habit.site), u64::from(habit.host), habit.rule.number()]) % MILLION < keep
    });
    if habits.is_empty() {
        habits.extend(first);
    }
}

fn rates(habits: &[Habit]) -> Vec<(Rhythm, u64)> {
    let mut sums: Vec<(Rhythm, u64)> = Vec::new();
    for habit in habits {
        match sums.iter_mut().find(|(rhythm, _)| *rhythm == habit.rhythm) {
            Some((_, sum)) => *sum += habit.rate,
            None => sums.push((habit.rhythm, habit.rate)),
        }
    }
    sums
}

/// The `turn`th of `count` evenly spread times of an hour, from the habit's own minute on.
fn periodic(phase: Millis, turn: u64, count: u64) -> Millis {
    let step = HOUR_MS.unsigned_abs() / count.max(1);
    ((phase.unsigned_abs() + turn * step) % HOUR_MS.unsigned_abs()).cast_signed()
}
