//! Event: what happens on a site and is about to be told as an alert.

use super::detections::{Detection, Product};
use super::dice::{Dice, key};
use super::site::{Site, outside};
use crate::record::{Millis, Triage};

/// The four kinds of attack that the generator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UseCase {
    Phishing,
    LateralMovement,
    CredentialStuffing,
    CloudMisconfiguration,
}

impl UseCase {
    /// Every use case, in the order in which campaigns take turns.
    pub(super) const ALL: [UseCase; 4] = [
        UseCase::Phishing,
        UseCase::LateralMovement,
        UseCase::CredentialStuffing,
        UseCase::CloudMisconfiguration,
    ];

    /// The label in `truth.jsonl` and `environment.json`.
    pub(super) fn name(self) -> &'static str {
        match self {
            UseCase::Phishing => "phishing",
            UseCase::LateralMovement => "lateral-movement",
            UseCase::CredentialStuffing => "credential-stuffing",
            UseCase::CloudMisconfiguration => "cloud-misconfiguration",
        }
    }
}

/// What an event truly is; background has no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) use_case: UseCase,
    pub(super) campaign: u32,
    pub(super) triage: Triage,
}

/// One detection on one site. Zero means that a field is not set; the product decides which are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) time: Millis,
    pub(super) rule: Detection,
    /// Index of the site.
    pub(super) site: u32,
    /// Index of the host.
    pub(super) host: u32,
    /// Index of the account.
    pub(super) user: u32,
    /// IPv4 addresses.
    pub(super) src: u32,
    pub(super) dst: u32,
    /// What the file's hash is made of.
    pub(super) file: u64,
    /// What the domain's name is made of.
    pub(super) domain: u64,
    /// What the resource's name is made of.
    pub(super) resource: u64,
    pub(super) label: Option<Label>,
}

/// Files that half the world has: what the endpoint product sees every day.
const COMMON_FILES: u64 = 150;
/// Sites that everybody visits.
const COMMON_DOMAINS: u64 = 400;
/// Addresses outside that everybody talks to.
const COMMON_PEERS: u64 = 600;
/// A site's buckets, groups, roles and instances.
const RESOURCES: u64 = 120;

impl Event {
    /// An event with nothing set but where and when.
    pub(super) fn new(time: Millis, rule: Detection, site: u32, host: u32, user: u32) -> Event {
        Event { time, rule, site, host, user, src: 0, dst: 0, file: 0, domain: 0, resource: 0, label: None }
    }

    /// Fills what the product shows and nobody set with what is usual for this host, account and rule: each keeps
    /// to a handful of peers, files and sites.
    pub(super) fn dress(&mut self, site: &Site, dice: &mut Dice) {
        let product = self.rule.rule().product;
        let habit =
            key(&[u64::from(site.index), u64::from(self.host), u64::from(self.user), self.rule.number()]);
        let usual = |pool: u64, choices: u64, dice: &mut Dice| {
            let choice = dice.below(choices);
            key(&[habit, choice, pool]) % pool + 1
        };
        let here = site.host(self.host).ip;
        let seat = site.host(site.user(self.user).host).ip;
        match product {
            Product::Edr => {
                if self.file == 0 && dice.chance(600_000) {
                    self.file = usual(COMMON_FILES, 3, dice);
                }
            }
            Product::Ids => {
                let peer = outside(usual(COMMON_PEERS, 5, dice));
                let inbound = key(&[habit]).is_multiple_of(2);
                let (src, dst) = if inbound { (peer, here) } else { (here, peer) };
                set(&mut self.src, src);
                set(&mut self.dst, dst);
            }
            Product::Idp => {
                set(&mut self.src, if dice.chance(850_000) { seat } else { outside(key(&[habit]) % 900) });
            }
            Product::Email => {
                if self.domain == 0 {
                    self.domain = usual(COMMON_DOMAINS, 12, dice);
                }
            }
            Product::Cloud => {
                set(&mut self.src, seat);
                if self.resource == 0 {
                    self.resource = usual(RESOURCES, 4, dice);
                }
            }
            Product::Proxy => {
                set(&mut self.src, here);
                if self.domain == 0 {
                    self.domain = usual(COMMON_DOMAINS, 9, dice);
                }
                set(&mut self.dst, outside(self.domain % COMMON_PEERS));
            }
        }
    }
}

fn set(field: &mut u32, value: u32) {
    if *field == 0 {
        *field = value;
    }
}
