//! The journey on one screen: how the stages are wired at one worker.

use std::sync::Arc;

use crossbeam_channel::Sender;
use differential_dataflow::input::InputSession;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use super::scores;
use crate::archive::{AlertRow, FindingRow, IncidentRow, Rows};
use crate::correlate::dedup::dedup;
use crate::correlate::findings::findings;
use crate::correlate::group::Compiled;
use crate::correlate::incidents::{Settings, Told as Gathered, incidents};
use crate::correlate::index::Index;
use crate::correlate::repeats::{Seen, repeats};
use crate::correlate::revision::Revision;
use crate::decide::Ruled;
use crate::decide::ruling::{Told as Weighed, ruling};
use crate::enrich::{facts, watch::watch};
use crate::flow::{Stream, Turn};
use crate::plan::link::LinkSettings;
use crate::rank::RankService;
use crate::rank::judge::{Judged, Proposing, judge};
use crate::record::input::Approval;
use crate::record::{Alert, ContextRow, Diff, Entity, Epoch, Sym, Tick, Verdict};

type Handle<D> = InputHandle<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// What a worker is fed by.
pub struct Inputs {
    /// Alerts; any worker may get any.
    pub alerts: Handle<Arc<Alert>>,
    /// Turns; every worker gets every one.
    pub turns: Handle<Turn>,
    /// Changes of context tables; one worker gets them.
    pub context: InputSession<Epoch, (Entity, ContextRow), Diff>,
    /// People's answers; one worker gets them.
    pub approvals: Handle<Approval>,
    /// Incidents that analysts took apart; one worker gets them.
    pub revisions: Handle<Arc<Revision>>,
}

/// What the dataflow is made from.
#[derive(Clone)]
pub struct Wiring {
    /// Linking's thresholds.
    pub link: LinkSettings,
    /// Correlation rules.
    pub correlations: Arc<[Compiled]>,
    /// Dedup window.
    pub dedup_s: Tick,
    /// Playbooks, policy and names.
    pub proposing: Proposing,
}

/// What leaves the dataflow, with its epoch.
pub enum Output {
    /// Rows for the archive.
    Rows(Epoch, Rows),
    /// A ruling, for the executors.
    Ruled(Epoch, Arc<Ruled>),
    /// What analysts said, with whose incident it is on.
    Verdicts(Epoch, Vec<(Verdict, Sym)>),
    /// Everything of the turn's epoch and those before it has been sent.
    Done(Turn),
}

/// Builds the dataflow at one worker; the probe tells which epochs are done.
pub fn build(
    worker: &mut Worker,
    wiring: &Wiring,
    ranker: &RankService,
    outputs: &Sender<Output>,
) -> (Inputs, ProbeHandle<Epoch>) {
    let mut inputs = Inputs {
        alerts: InputHandle::new(),
        turns: InputHandle::new(),
        context: InputSession::new(),
        approvals: InputHandle::new(),
        revisions: InputHandle::new(),
    };
    let probe = ProbeHandle::new();
    let (names, index) = (&wiring.proposing.names, Index::of(&wiring.correlations, None));
    worker.dataflow(|scope| {
        let clock = inputs.turns.to_stream(scope);
        let context = inputs.context.to_collection(scope);
        let approvals = inputs.approvals.to_stream(scope);
        let revisions = inputs.revisions.to_stream(scope);
        let (with, told) = (wiring.proposing.clone(), wiring.proposing.clone());
        let solo = with.policy.solo_severity;

        let wanted = move |alert: &Alert| index.wants(alert);
        let (early, admitted) = dedup(inputs.alerts.to_stream(scope), clock.clone(), wanted);
        let seen = repeats(admitted.clone(), clock.clone(), wiring.dedup_s);
        let matches = findings(early, clock.clone(), &wiring.correlations, names);
        let settings = Settings {
            link: wiring.link.clone(),
            solo,
            correlations: Arc::clone(&wiring.correlations),
            names: Arc::clone(names),
        };
        let (opened, gathered) = incidents(admitted, matches.clone(), revisions, clock.clone(), settings);
        let watched = watch(opened, clock.clone(), solo);
        let facts = facts::join(watched.entities, watched.addresses, context, names);
        let enriched = facts::attach(watched.versions, facts, clock.clone());
        let judged = judge(enriched, ranker, with.clone());
        let (ruled, weighed) = ruling(judged, approvals, clock, with);

        leave(seen, outputs, &probe, |epoch, seen| [Output::Rows(epoch, seen_rows(seen))]);
        leave(matches, outputs, &probe, |epoch, (finding, diff)| {
            [Output::Rows(epoch, Rows::Matches(vec![FindingRow { finding, diff }]))]
        });
        leave(gathered, outputs, &probe, |epoch, gathered| [Output::Rows(epoch, gathered_rows(gathered))]);
        leave(weighed, outputs, &probe, move |epoch, weighed| {
            weighed_rows(weighed, &told).map(move |rows| Output::Rows(epoch, rows))
        });
        leave(ruled, outputs, &probe, |epoch, ruled| [Output::Ruled(epoch, ruled)]);
    });
    (inputs, probe)
}

/// Sends a stream's records out of the dataflow.
fn leave<D: Clone + 'static, O: IntoIterator<Item = Output>>(
    stream: Stream<'_, D>,
    outputs: &Sender<Output>,
    probe: &ProbeHandle<Epoch>,
    output: impl Fn(Epoch, D) -> O + 'static,
) {
    let outputs = outputs.clone();
    stream
        .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "leave", |_, _| {
            move |input, _| {
                input.for_each(|cap, data| {
                    let Some(epoch) = cap.least().copied() else { return };
                    for output in data.drain(..).flat_map(|record| output(epoch, record)) {
                        // Where nobody listens any more the run has failed, and said why.
                        let _ = outputs.send(output);
                    }
                });
            }
        })
        .probe_with(probe);
}

fn seen_rows(seen: Seen) -> Rows {
    match seen {
        Seen::Alerts(alerts) => {
            Rows::Alerts(alerts.into_iter().map(|(alert, repeat_of)| AlertRow { alert, repeat_of }).collect())
        }
        Seen::Duplicates(duplicates) => Rows::Duplicates(duplicates),
    }
}

fn gathered_rows(gathered: Gathered) -> Rows {
    match gathered {
        Gathered::Members(members) => Rows::Members(members),
        Gathered::Links(links) => Rows::Links(links),
    }
}

fn weighed_rows(weighed: Weighed, with: &Proposing) -> impl Iterator<Item = Rows> + use<> {
    let (rows, scores) = match weighed {
        Weighed::Versions(versions) => {
            let scores =
                versions.iter().filter_map(|judged| scores::row(judged, &with.playbooks, &with.names));
            let scores = scores.collect();
            (Rows::Incidents(versions.into_iter().map(incident_row).collect()), scores)
        }
        Weighed::Candidates(candidates) => (Rows::Candidates(candidates), Vec::new()),
    };
    [rows, Rows::Inputs(scores)].into_iter().filter(|rows| !rows.is_empty())
}

fn incident_row(judged: Judged) -> IncidentRow {
    IncidentRow {
        incident: judged.incident,
        judgement: Some(judged.judgement),
        features: Some(judged.features),
        context: (*judged.facts).clone(),
    }
}
