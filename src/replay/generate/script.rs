//! Script: a clock, a place and the attacker's means, with which campaigns and look-alikes tell their steps.

use super::detections::{Detection, Product};
use super::dice::{Dice, key};
use super::event::{Event, Label};
use super::site::{Duty, HostRole, Site, outside};
use crate::record::Millis;

/// What one campaign works with.
#[derive(Clone, Copy)]
pub(super) struct Means {
    /// Its address.
    pub(super) ip: u32,
    /// What its domain is made of.
    pub(super) domain: u64,
    /// What its tool's hash is made of.
    pub(super) file: u64,
}

impl Means {
    /// The means of the episode with that key.
    pub(super) fn of(episode: u64) -> Means {
        Means { ip: outside(key(&[episode, 1])), domain: key(&[episode, 2]), file: key(&[episode, 3]) }
    }
}

/// A story being told.
pub(super) struct Script<'a> {
    pub(super) site: &'a Site,
    pub(super) dice: Dice,
    pub(super) means: Means,
    /// The host and the account that the story is at.
    pub(super) host: u32,
    pub(super) user: u32,
    clock: Millis,
    /// How slowly it goes, in percent.
    pace: Millis,
    label: Option<Label>,
    events: Vec<Event>,
}

impl<'a> Script<'a> {
    /// A story of the episode with that key, beginning at `start` at the seat of some member of staff.
    pub(super) fn new(site: &'a Site, episode: u64, start: Millis, label: Option<Label>) -> Script<'a> {
        let mut dice = Dice::of(&[episode, 0x5c]);
        let user = site.any_user(Duty::Staff, &mut dice);
        let pace = dice.pick(&[30, 60, 100, 100, 180, 400]);
        Script {
            site,
            dice,
            means: Means::of(episode),
            host: site.user(user).host,
            user,
            clock: start,
            pace,
            label,
            events: Vec::new(),
        }
    }

    /// What was told, in order of time.
    pub(super) fn end(mut self) -> Vec<Event> {
        self.events.sort_by_key(|event| event.time);
        self.events
    }

    /// A number in `low..=high`.
    pub(super) fn count(&mut self, low: u64, high: u64) -> u64 {
        self.dice.between(low, high)
    }

    /// True so many times in a hundred.
    pub(super) fn maybe(&mut self, percent: u64) -> bool {
        self.dice.chance(percent * 10_000)
    }

    /// Lets `low..=high` seconds pass, at the story's pace.
    pub(super) fn wait(&mut self, low: Millis, high: Millis) {
        self.clock += self.dice.span(low * 1000, high * 1000) * self.pace / 100;
    }

    /// Goes on at another member of staff's seat.
    pub(super) fn someone(&mut self) {
        self.user = self.site.any_user(Duty::Staff, &mut self.dice);
        self.host = self.site.user(self.user).host;
    }

    /// Goes on as an account with that duty, where it is.
    pub(super) fn act_as(&mut self, duty: Duty) {
        self.user = self.site.any_user(duty, &mut self.dice);
    }

    /// Goes on at a host of that role.
    pub(super) fn go(&mut self, role: HostRole) {
        self.host = self.site.any_host(role, &mut self.dice);
    }

    /// Raises a detection here and now, with the attacker's means in it.
    pub(super) fn raise(&mut self, rule: Detection) {
        let product = rule.rule().product;
        let means = self.means;
        let here = self.site.host(self.host).ip;
        self.raise_with(rule, |event, dice| match product {
            Product::Edr => {
                if dice.chance(700_000) {
                    event.file = means.file;
                }
            }
            Product::Ids => (event.src, event.dst) = (means.ip, here),
            Product::Idp | Product::Cloud => event.src = means.ip,
            Product::Email => event.domain = means.domain,
            Product::Proxy => (event.domain, event.dst) = (means.domain, means.ip),
        });
    }

    /// Raises one of `rules` here and now.
    pub(super) fn raise_one_of(&mut self, rules: &[Detection]) {
        let rule = self.dice.pick(rules);
        self.raise(rule);
    }

    /// Raises a detection here and now as everyday work would: with the usual files, peers and sites.
    pub(super) fn raise_usual(&mut self, rule: Detection) {
        self.raise_with(rule, |_, _| {});
    }

    /// Raises a detection at `target`, caused from here.
    pub(super) fn raise_at(&mut self, rule: Detection, target: u32) {
        let (from, to) = (self.site.host(self.host).ip, self.site.host(target).ip);
        let file = self.means.file;
        let edr = rule.rule().product == Product::Edr;
        self.raise_with(rule, |event, dice| {
            (event.host, event.src) = (target, from);
            if edr {
                event.file = if dice.chance(700_000) { file } else { 0 };
            } else {
                event.dst = to;
            }
        });
    }

    /// Raises a detection with what `set` puts into it.
    pub(super) fn raise_with(&mut self, rule: Detection, set: impl FnOnce(&mut Event, &mut Dice)) {
        let mut event = Event::new(self.clock, rule, self.site.index, self.host, self.user);
        event.label = self.label;
        set(&mut event, &mut self.dice);
        event.dress(self.site, &mut self.dice);
        self.events.push(event);
    }
}
