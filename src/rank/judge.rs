//! `judge`: versions of incidents meet the model, without a worker ever waiting for it.
//!
//! In: versions with their context. Out: the same with features, proposals and the model's judgement, at the same epoch.
//! State: versions whose answer is under way, with the right to speak at their epoch.
//!
//! An answer is remembered with the version, never asked for twice: what is taken back later is taken back with the score
//! that was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use super::propose::{Proposal, propose};
use super::ranker::Case;
use super::recall::Opinion;
use super::service::RankService;
use crate::enrich::facts::Enriched;
use crate::featurize::features::{Hashes, features_of};
use crate::flow::Stream;
use crate::plan::playbook::Playbook;
use crate::plan::policy::Policy;
use crate::record::{
    ContextFacts, Epoch, Features, Incident, IncidentKind, IncidentState, Judgement, Names, Sym,
};

/// A version with all that bears on the ruling.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// The version.
    pub incident: Arc<Incident>,
    /// Its context.
    pub facts: Arc<ContextFacts>,
    /// What the model saw.
    pub features: Arc<Features>,
    /// The playbooks that fit.
    pub proposals: Arc<[Proposal]>,
    /// What the model said.
    pub judgement: Judgement,
    /// Which model that was.
    pub model: Sym,
    /// Whether it was asked to rank playbooks, beside triage.
    pub ranked: bool,
}

/// What proposals are made from.
#[derive(Clone)]
pub struct Proposing {
    /// The plan's playbooks.
    pub playbooks: Arc<[Playbook]>,
    /// The plan's policy.
    pub policy: Arc<Policy>,
    /// Strings.
    pub names: Arc<Names>,
}

struct Waiting {
    right: Capability<Epoch>,
    cases: Vec<(Enriched, Arc<Features>, Arc<[Proposal]>)>,
}

/// Builds the operator.
pub fn judge<'scope>(
    versions: Stream<'scope, Enriched>,
    service: &RankService,
    with: Proposing,
) -> Stream<'scope, Judged> {
    let scope = versions.scope();
    versions.unary::<CapacityContainerBuilder<Vec<Judged>>, _, _, _>(Pipeline, "judge", |_, info| {
        let activator = scope.worker().sync_activator_for(info.address.to_vec());
        // A worker that has ended needs no waking.
        let client = service.client(Box::new(move || {
            let _ = activator.activate();
        }));
        let mut hashes = Hashes::default();
        let mut waiting: BTreeMap<u64, Waiting> = BTreeMap::new();
        let mut next = 0;
        move |input, output| {
            input.for_each(|cap, data| {
                let Some(right) = cap.retain_least(0) else { return };
                let cases: Vec<_> =
                    data.drain(..).map(|version| prepare(version, &with, &mut hashes)).collect();
                let asked = cases.iter().map(|(version, features, proposals)| {
                    let playbooks = proposals.iter().filter_map(|p| u16::try_from(p.playbook).ok());
                    let case = Case { features: Arc::clone(features), playbooks: playbooks.collect() };
                    (version.incident.id, case)
                });
                client.ask(next, asked.collect()).expect("the ranker's thread outlives the dataflow");
                waiting.insert(next, Waiting { right, cases });
                next += 1;
            });
            while let Some(answer) = client.poll() {
                let Some(Waiting { right, cases }) = waiting.remove(&answer.id) else { continue };
                let judged =
                    cases.into_iter().zip(answer.opinions).map(|((version, features, proposals), said)| {
                        let ranked = is_ranked(&version.incident, &with.policy);
                        let Enriched { incident, facts, .. } = version;
                        let Opinion { judgement, model } = said;
                        Judged { incident, facts, features, proposals, judgement, model, ranked }
                    });
                output.session(&right).give_iterator(judged);
            }
        }
    })
}

fn prepare(
    version: Enriched,
    with: &Proposing,
    hashes: &mut Hashes,
) -> (Enriched, Arc<Features>, Arc<[Proposal]>) {
    let incident = &version.incident;
    let features = Arc::new(features_of(incident, &version.facts, hashes, &with.names));
    let proposals = if is_ranked(incident, &with.policy) {
        propose(incident, &version.facts, &with.playbooks, &with.policy, &with.names).into()
    } else {
        Arc::default()
    };
    (version, features, proposals)
}

/// Whether playbooks are ranked for a version: not for background below the policy's severity, nor for what is no more.
fn is_ranked(incident: &Incident, policy: &Policy) -> bool {
    let worth = incident.kind == IncidentKind::Linked || incident.severity >= policy.solo_severity;
    worth && matches!(incident.state, IncidentState::Open | IncidentState::Closed)
}
