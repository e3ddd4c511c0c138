//! `ruling`: the deciders, one a tenant, in the dataflow.
//!
//! In: judged versions, by tenant; people's approvals and denials, told to every worker. Out: rulings with what they let be
//! done; and for the archive the versions themselves, candidates and decisions.
//! State: one [`Decider`] a tenant.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::vec::Broadcast;

use super::{Answer, Case, Decider, Ground, Ruled, Rules};
use crate::flow::{Keeper, Stream, Turn, route, turns};
use crate::rank::judge::{Judged, Proposing};
use crate::record::input::Approval;
use crate::record::{Candidate, IncidentState, Sym};

/// What the archive keeps of an epoch's rulings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    /// Versions as they were judged.
    Versions(Vec<Judged>),
    /// Playbooks weighed or withdrawn.
    Candidates(Vec<Candidate>),
    /// Executed rulings whose ground changed.
    Grounds(Vec<Ground>),
}

/// Builds the operator.
pub fn ruling<'scope>(
    judged: Stream<'scope, Judged>,
    approvals: Stream<'scope, Approval>,
    clock: Stream<'scope, Turn>,
    with: Proposing,
    keeper: &Keeper,
) -> (Stream<'scope, Arc<Ruled>>, Stream<'scope, Told>) {
    let mut deciders: FxHashMap<Sym, Decider> = FxHashMap::default();
    let keeping = keeper.of("ruling");
    let of_tenant = |(tenant, _): &(Sym, Decider)| route(*tenant);
    keeping.restore(of_tenant, |(tenant, decider)| drop(deciders.insert(tenant, decider)));
    turns("ruling", (judged, Pipeline), (approvals.broadcast(), Pipeline), clock, move |work| {
        let rules = Rules { policy: &with.policy, playbooks: &with.playbooks, names: &with.names };
        let mut versions: Vec<Judged> = std::mem::take(work.first);
        versions.sort_unstable_by_key(|judged| {
            // What is taken apart says so before any of its parts speaks.
            let whole = judged.incident.state == IncidentState::Split;
            (judged.incident.tick, !whole, judged.incident.id, judged.incident.version)
        });
        let (mut candidates, mut grounds) = (Vec::new(), Vec::new());
        for versions in versions.chunk_by(|a, b| a.incident.tick == b.incident.tick) {
            for judged in versions {
                let tenant = judged.incident.tenant;
                let decider = deciders.entry(tenant).or_insert_with(|| Decider::new(tenant));
                let case = Case {
                    incident: &judged.incident,
                    context: &judged.facts,
                    proposals: &judged.proposals,
                    judgement: &judged.judgement,
                    model: judged.model,
                };
                let rulings = decider.decide(case, rules);
                candidates.extend(rulings.candidates);
                work.out.extend(rulings.ruled.map(Arc::new));
            }
            for judged in versions {
                // A tenant's first version settles the ground of all of its versions: the others find nothing left.
                let Some(decider) = deciders.get_mut(&judged.incident.tenant) else { continue };
                let (ruled, changed) = decider.settle_ground();
                work.out.extend(ruled.into_iter().map(Arc::new));
                grounds.extend(changed);
            }
        }
        work.second
            .sort_unstable_by(|a, b| (a.time, a.decision_id, &a.by).cmp(&(b.time, b.decision_id, &b.by)));
        for approval in work.second.drain(..) {
            for decider in deciders.values_mut() {
                // A decision is one tenant's: all other deciders do not know it.
                if let Answer::Resolved(ruled) = decider.approve(&approval, work.turn.settled, rules) {
                    work.out.push(Arc::from(ruled));
                }
            }
        }
        keeping.keep(work.turn, |items| deciders.iter().for_each(|decider| items.put(&decider)));
        if !versions.is_empty() {
            work.side.push(Told::Versions(versions));
        }
        if !candidates.is_empty() {
            work.side.push(Told::Candidates(candidates));
        }
        if !grounds.is_empty() {
            work.side.push(Told::Grounds(grounds));
        }
    })
}
