//! Tables: what a site knows of its hosts, accounts and foes, and how the simulated analysts and executors behave.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;

use super::dice::{Dice, key};
use super::episodes::Episode;
use super::event::UseCase;
use super::ocsf::{domain, ipv4, sha256};
use super::site::{Duty, HostRole, Site, outside};

/// `assets.csv`: entity, criticality 0 to 4, exposed, protected.
pub(super) fn assets(sites: &[Site]) -> String {
    let mut text = String::from("entity,criticality,exposed,protected\n");
    for site in sites {
        for host in &site.hosts {
            let (criticality, exposed, protected) = match host.role {
                HostRole::DomainController => (4, false, true),
                HostRole::Mail => (4, true, true),
                HostRole::Database => (4, false, false),
                HostRole::Backup => (3, false, true),
                HostRole::FileServer | HostRole::Jump | HostRole::Build => (3, false, false),
                HostRole::Web => (3, true, false),
                HostRole::Scanner | HostRole::Workstation => (1, false, false),
            };
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(text, "host:{},{criticality},{exposed},{protected}", host.name);
        }
        // The way out: blocking it would cut off everybody.
        let _ = writeln!(text, "ip:10.{}.255.254,4,true,true", site.index);
    }
    text
}

/// `identities.csv`: entity, privilege 0 to 2, protected.
pub(super) fn identities(sites: &[Site]) -> String {
    let mut text = String::from("entity,privilege,protected\n");
    for user in sites.iter().flat_map(|site| &site.users) {
        let (privilege, protected) = match user.duty {
            Duty::Administrator => (2, false),
            Duty::Engineer => (1, false),
            Duty::Service => (1, true),
            Duty::Executive => (0, true),
            Duty::Staff => (0, false),
        };
        let _ = writeln!(text, "user:{},{privilege},{protected}", user.name);
    }
    text
}

/// `indicators.csv`: entity, confidence 0 to 100, source. Knows a third of the attackers' means, and much that is stale
/// or harmless.
pub(super) fn indicators(seed: u64, episodes: &[Episode]) -> String {
    let mut known: BTreeMap<String, (u64, &str)> = BTreeMap::new();
    for at in 0..150u64 {
        let mut dice = Dice::of(&[seed, 0x1d, at]);
        let mut entity = String::from("ip:");
        // Of these, a third are addresses that everybody talks to.
        let number = if at % 3 == 0 { dice.below(600) + 1 } else { dice.bits() };
        ipv4(&mut entity, outside(number));
        known.insert(entity, (dice.between(5, 60), dice.pick(&["open-feed", "open-feed", "isac"])));
    }
    for means in episodes.iter().filter_map(Episode::attacker) {
        let mut dice = Dice::of(&[seed, 0x1e, key(&[means.domain])]);
        for part in 0..3 {
            if !dice.chance(330_000) {
                continue;
            }
            let mut entity = String::from(["ip:", "domain:", "hash:"][part]);
            match part {
                0 => ipv4(&mut entity, means.ip),
                1 => domain(&mut entity, means.domain),
                _ => sha256(&mut entity, means.file),
            }
            known.insert(entity, (dice.between(45, 95), dice.pick(&["isac", "vendor", "own-cases"])));
        }
    }
    let mut text = String::from("entity,confidence,source\n");
    for (entity, (confidence, source)) in known {
        let _ = writeln!(text, "{entity},{confidence},{source}");
    }
    text
}

/// How often a playbook does what it should against a use case: the truth that a ranker has to find out.
const SUCCESS: [(UseCase, &str, f64); 14] = [
    (UseCase::Phishing, "phishing-purge", 0.7),
    (UseCase::Phishing, "phishing-purge-and-reset", 0.9),
    (UseCase::Phishing, "credential-stuffing-reset", 0.45),
    (UseCase::LateralMovement, "ransomware-contain-host", 0.75),
    (UseCase::LateralMovement, "ransomware-lockdown", 0.92),
    (UseCase::LateralMovement, "credential-stuffing-reset", 0.3),
    (UseCase::CredentialStuffing, "credential-stuffing-block", 0.65),
    (UseCase::CredentialStuffing, "credential-stuffing-reset", 0.9),
    (UseCase::CredentialStuffing, "phishing-purge-and-reset", 0.4),
    (UseCase::CloudMisconfiguration, "cloud-close-and-notify", 0.7),
    (UseCase::CloudMisconfiguration, "cloud-close-and-rotate", 0.9),
    (UseCase::Phishing, "investigate-and-notify", 0.25),
    (UseCase::CredentialStuffing, "investigate-and-notify", 0.2),
    (UseCase::CloudMisconfiguration, "investigate-and-notify", 0.3),
];

/// `environment.json`: how the simulated analysts judge and how the simulated actions end.
pub(super) fn environment(seed: u64) -> String {
    let success: Vec<serde_json::Value> = SUCCESS
        .iter()
        .map(|(use_case, playbook, probability)| {
            json!({ "use_case": use_case.name(), "playbook": playbook, "probability": probability })
        })
        .collect();
    let all = json!({
        "seed": seed,
        "analyst": { "coverage": 0.6, "error": 0.02, "delay_s": [600, 14_400] },
        "success": success,
        "otherwise": 0.1,
    });
    format!("{all:#}\n")
}
