//! Proposals: which playbooks fit an incident, with the targets that each step would touch.
//!
//! In: a version of an incident with its context. Out: proposals in the order of the plan's playbooks (by id).
//! State: none; a pure function. Entities are attacker-chosen, so what nobody may act on is left out here, before
//! anything is scored.

use serde::{Deserialize, Serialize};

use crate::plan::address;
use crate::plan::playbook::{Applicability, Playbook, Scope, TARGETS_MAX, TargetKind};
use crate::plan::policy::{Pattern, Policy, host_of};
use crate::record::attack::Tactics;
use crate::record::{ContextFacts, Entity, EntityKind, Incident, Names, Target};

/// Bytes of an entity that may still be a target: longer ones are somebody's attempt at something.
const TARGET_BYTES_MAX: usize = 1024;

/// A playbook that fits, with its targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Its place in the plan's playbooks.
    pub playbook: usize,
    /// A step's place in the playbook with its targets: indicators first, then by text. Steps without targets are
    /// not here and are passed over.
    pub targets: Vec<(usize, Vec<Target>)>,
    /// Targets beyond the bound of a step.
    pub left_out: u32,
}

/// Which playbooks fit the incident, and what they would touch.
#[must_use]
pub fn propose(
    incident: &Incident,
    context: &ContextFacts,
    playbooks: &[Playbook],
    policy: &Policy,
    names: &Names,
) -> Vec<Proposal> {
    let entities = candidates(incident, context, policy, names);
    let fits = |playbook: &Playbook| {
        applies(&playbook.applies, incident, names)
            && playbook.valid_from.is_none_or(|from| incident.last_seen >= from)
            && playbook.valid_until.is_none_or(|until| incident.last_seen < until)
    };
    let fitting = playbooks.iter().enumerate().filter(|(_, playbook)| fits(playbook));
    fitting.filter_map(|(at, playbook)| targets(at, playbook, incident, &entities, policy)).collect()
}

/// An entity that may be acted on, with what the policy knows of whose it is.
struct Candidate {
    entity: Entity,
    own: Option<bool>,
}

fn candidates(incident: &Incident, context: &ContextFacts, policy: &Policy, names: &Names) -> Vec<Candidate> {
    let mut found: Vec<(bool, String, Candidate)> = Vec::new();
    for entity in incident.entities.iter() {
        let value = names.get(entity.value);
        if !may_be_target(entity.kind, &value, policy) {
            continue;
        }
        let own = own(entity.kind, &value, policy);
        found.push((!context.indicators.contains(entity), value, Candidate { entity: *entity, own }));
    }
    found.sort_by(|a, b| (a.0, &a.1, a.2.entity.kind).cmp(&(b.0, &b.1, b.2.entity.kind)));
    found.into_iter().map(|(_, _, candidate)| candidate).collect()
}

/// Whether anything may ever be done to an entity: no address of nobody, no infrastructure of ours, nothing that
/// could not be a name.
#[must_use]
pub fn may_be_target(kind: EntityKind, value: &str, policy: &Policy) -> bool {
    if value.is_empty() || value.len() > TARGET_BYTES_MAX || value.chars().any(char::is_control) {
        return false;
    }
    let nobodys = |text: &str| address::parse(text).is_some_and(address::is_nobodys);
    let local = |host: &str| {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        host == "localhost" || host.ends_with(".localhost")
    };
    let sound = match kind {
        EntityKind::Ip => address::parse(value).is_some_and(|ip| !address::is_nobodys(ip)),
        // A host may be called `1234`, which a socket would read as an address: only dotted names are judged so.
        EntityKind::Host | EntityKind::Domain => {
            !local(value) && (!value.contains(['.', ':']) || !nobodys(value))
        }
        EntityKind::Url => host_of(value).is_some_and(|host| !local(host) && !nobodys(host)),
        EntityKind::User
        | EntityKind::Hash
        | EntityKind::Mailbox
        | EntityKind::Resource
        | EntityKind::Process
        | EntityKind::File => true,
    };
    sound && !policy.infrastructure.iter().any(|pattern| pattern.covers(kind, value))
}

/// Whether the entity is our own; none where the policy says nothing of its kind.
fn own(kind: EntityKind, value: &str, policy: &Policy) -> Option<bool> {
    if policy.own.iter().any(|pattern| pattern.covers(kind, value)) {
        return Some(true);
    }
    let private = |ip| match address::unmapped(ip) {
        std::net::IpAddr::V4(ip) => ip.is_private(),
        std::net::IpAddr::V6(ip) => ip.segments()[0] & 0xfe00 == 0xfc00,
    };
    if kind == EntityKind::Ip && address::parse(value).is_some_and(private) {
        return Some(true);
    }
    policy.own.iter().map(Pattern::kind).any(|known| known == kind).then_some(false)
}

fn applies(applies: &Applicability, incident: &Incident, names: &Names) -> bool {
    if incident.severity < applies.severity_min {
        return false;
    }
    let has = |kind: &EntityKind| incident.entities.iter().any(|entity| entity.kind == *kind);
    if !applies.entities.iter().all(has) {
        return false;
    }
    if applies.tactics.is_empty() && applies.techniques.is_empty() {
        return true;
    }
    let tactics = applies.tactics.iter().filter_map(|text| Tactics::parse(text));
    let wanted = tactics.fold(Tactics::default(), Tactics::union);
    wanted.0 & incident.tactics.0 != 0
        || incident.attacks.iter().any(|attack| {
            names.with(*attack, |seen| applies.techniques.iter().any(|technique| covers(technique, seen)))
        })
}

/// A technique covers its sub-techniques.
fn covers(technique: &str, seen: &str) -> bool {
    seen.strip_prefix(technique).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The proposal of a playbook; none where it would touch nothing but the incident itself, though it acts on entities.
fn targets(
    at: usize,
    playbook: &Playbook,
    incident: &Incident,
    entities: &[Candidate],
    policy: &Policy,
) -> Option<Proposal> {
    let mut proposal = Proposal { playbook: at, targets: Vec::new(), left_out: 0 };
    let (mut wanted, mut found) = (false, false);
    for (step, action) in playbook.actions() {
        let parameters = &action.parameters;
        let TargetKind::Entity(kind) = parameters.target else {
            proposal.targets.push((step, vec![Target::Incident(incident.id)]));
            continue;
        };
        wanted = true;
        let scoped = |candidate: &&Candidate| {
            candidate.entity.kind == kind
                && match parameters.scope {
                    Scope::Any => true,
                    Scope::External => candidate.own != Some(true),
                    Scope::Own => candidate.own != Some(false),
                }
        };
        let all: Vec<Target> =
            entities.iter().filter(scoped).map(|candidate| Target::Entity(candidate.entity)).collect();
        let bound = parameters.targets_max.unwrap_or(TARGETS_MAX).min(policy.targets_max) as usize;
        proposal.left_out += u32::try_from(all.len().saturating_sub(bound)).unwrap_or(u32::MAX);
        if !all.is_empty() {
            found = true;
            proposal.targets.push((step, all.into_iter().take(bound).collect()));
        }
    }
    (found || !wanted).then_some(proposal)
}

#[cfg(test)]
mod tests;
