//! The journey on one screen: how the stages are wired at one worker.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use differential_dataflow::input::InputSession;
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange as By, Pipeline};
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::{Broadcast, ToStream};
use timely::dataflow::operators::{Concat, Concatenate, Exchange, OkErr, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Scope};
use timely::worker::Worker;

use super::handing::{Unsent, gather};
use super::scores;
use crate::archive::{AlertRow, FindingRow, IncidentRow, Rows};
use crate::correlate::acted;
use crate::correlate::counted::{Counted, counted};
use crate::correlate::dedup::{Admitted, dedup};
use crate::correlate::findings::findings;
use crate::correlate::group::Compiled;
use crate::correlate::incidents::{Settings, Told as Gathered, incidents};
use crate::correlate::index::Index;
use crate::correlate::repeats::{Seen, repeats};
use crate::correlate::revision::Revised;
use crate::decide::ruling::{Told as Weighed, ruling};
use crate::decide::{Ground, Ruled};
use crate::enrich::facts::{self, Enriched};
use crate::enrich::watch::watch;
use crate::flow::kept::{self, Kept, Past};
use crate::flow::{Keeper, Stream, Turn, route, turns};
use crate::plan::link::LinkSettings;
use crate::plan::pipeline::EndsAt;
use crate::plan::policy::Act;
use crate::rank::RankService;
use crate::rank::judge::{Judged, Proposing, judge};
use crate::record::input::{Approval, Reported};
use crate::record::{Alert, ContextRow, Diff, Entity, Epoch, Finding, Sym, Tick, Verdict};

/// What a worker gives records to.
pub type Handle<D> = InputHandle<Epoch, CapacityContainerBuilder<Vec<D>>>;

/// What a worker is fed by.
pub struct Inputs {
    /// Alerts; any worker may get any.
    pub alerts: Handle<Arc<Alert>>,
    /// Turns; one worker gets them, and tells every one.
    pub turns: Handle<Turn>,
    /// Changes of context tables; one worker gets them.
    pub context: InputSession<Epoch, (Entity, ContextRow), Diff>,
    /// People's answers; one worker gets them.
    pub approvals: Handle<Approval>,
    /// Incidents that are taken apart, and changes of the list of entities that never link; one worker gets them.
    pub revisions: Handle<Revised>,
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
    /// When incidents are made of what came.
    pub act: Act,
    /// How far the journey goes.
    pub ends_at: EndsAt,
    /// Over which processes.
    pub span: Span,
    /// What the operators begin with, where an earlier run kept it.
    pub past: Option<Arc<Past>>,
}

/// Over which processes the dataflow is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One.
    Process,
    /// Several, of so many workers each: what leaves the dataflow leaves it at the first worker of the first process.
    Cluster {
        /// Workers of each process.
        workers: usize,
        /// Whether the first process judges for all: it alone knows what an earlier run's model said, or that another model is put
        /// to use on the way.
        first_judges: bool,
    },
}

impl Span {
    /// Workers of each process, of several; one where there is one.
    #[must_use]
    pub fn workers(self) -> usize {
        match self {
            Span::Process => 1,
            Span::Cluster { workers, .. } => workers,
        }
    }
}

/// What leaves the dataflow, with its epoch.
pub enum Output {
    /// Rows for the archive.
    Rows(Epoch, Rows),
    /// So many alerts, where they are not kept.
    Alerts(Epoch, u64),
    /// A ruling, for the executors.
    Ruled(Epoch, Arc<Ruled>),
    /// What analysts said, with whose incident it is on.
    Verdicts(Epoch, Vec<(Verdict, Sym)>),
    /// What people answered.
    Approvals(Epoch, Vec<Approval>),
    /// What came of orders that were given before.
    Reported(Epoch, Vec<Reported>),
    /// Executed rulings whose ground changed.
    Grounds(Epoch, Vec<Ground>),
    /// Findings that were acted on and are withdrawn.
    Withdrawn(Epoch, Vec<Finding>),
    /// What an operator remembers at an epoch's end.
    Kept(Kept),
    /// Everything of the turn's epoch and those before it has been sent.
    Done(Turn),
    /// The log has epochs through this one, durably.
    Logged(Epoch),
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
    let index = Index::of(&wiring.correlations, None);
    let unsent = Unsent::default();
    let tell = keeps(outputs, wiring.span, &unsent);
    let names = &wiring.proposing.names;
    let at = (worker.index(), worker.peers());
    let keeper = Keeper::new(at, Arc::clone(names), tell, wiring.past.clone());
    worker.dataflow(|scope| {
        let clock = inputs.turns.to_stream(scope).broadcast();
        let out = Out { outputs, probe: &probe, span: wiring.span, left: RefCell::default() };

        let all = wiring.act == Act::Early;
        let wanted = move |alert: &Alert| all || index.wants(alert);
        let (early, admitted) = dedup(inputs.alerts.to_stream(scope), clock.clone(), wanted, names, &keeper);
        let matches = findings(early.clone(), clock.clone(), &wiring.correlations, names, &keeper);
        out.leave(matches.clone(), |epoch, (finding, diff)| {
            [Output::Rows(epoch, Rows::Matches(vec![FindingRow { finding, diff }]))]
        });
        if wiring.span != Span::Process {
            let rules = Arc::clone(&wiring.correlations);
            out.leave(without_number(matches.clone(), clock.clone(), wiring), move |_, (rule, more)| {
                rules[rule as usize].add_without_number(more);
                None
            });
        }
        match wiring.ends_at {
            EndsAt::Findings => out.leave(counted(admitted, clock.clone()), counted_rows),
            EndsAt::Actions => {
                let known = Known { early, admitted, matches, clock: clock.clone(), keeper: &keeper };
                answer(scope, &mut inputs, known, (wiring, ranker), &out);
            }
        }
        if wiring.span != Span::Process {
            let done = scope.concatenate(out.left.take());
            out.leave(gather(clock, done, unsent), |_, kept| [Output::Kept(kept)]);
        }
    });
    if let Some(past) = &wiring.past {
        past.release(match wiring.span {
            Span::Process => worker.peers(),
            Span::Cluster { workers, .. } => workers,
        });
    }
    (inputs, probe)
}

/// How operators tell what is to be kept: at once, or, in a cluster, by way of the first worker.
fn keeps(outputs: &Sender<Output>, span: Span, unsent: &Unsent) -> kept::Out {
    let (outputs, unsent) = (outputs.clone(), Rc::clone(unsent));
    match span {
        Span::Process => Rc::new(move |kept| drop(outputs.send(Output::Kept(kept)))),
        Span::Cluster { .. } => Rc::new(move |kept| unsent.borrow_mut().push(kept)),
    }
}

/// What incidents are made from.
struct Known<'scope, 'a> {
    /// Alerts as soon as they are known, and taken back.
    early: Stream<'scope, (Arc<Alert>, Diff)>,
    /// Alerts and duplicates, once settled.
    admitted: Stream<'scope, Admitted>,
    /// Findings, and their withdrawals.
    matches: Stream<'scope, (Finding, Diff)>,
    clock: Stream<'scope, Turn>,
    keeper: &'a Keeper,
}

/// From alerts and findings to rulings.
fn answer<'scope>(
    scope: Scope<'scope, Epoch>,
    inputs: &mut Inputs,
    Known { early, admitted, matches, clock, keeper }: Known<'scope, '_>,
    (wiring, ranker): (&Wiring, &RankService),
    out: &Out<'_, 'scope>,
) {
    let names = &wiring.proposing.names;
    let context = inputs.context.to_collection(scope);
    let approvals = inputs.approvals.to_stream(scope);
    let (cuts, lists) = inputs.revisions.to_stream(scope).ok_err(|revised| match revised {
        Revised::Cut(_) => Ok(revised),
        Revised::Listed(_) => Err(revised),
    });
    let revisions = cuts.concat(lists.broadcast());
    let (with, told) = (wiring.proposing.clone(), wiring.proposing.clone());
    let solo = with.policy.solo_severity;

    let seen = repeats(admitted.clone(), clock.clone(), wiring.dedup_s, keeper);
    let settings = Settings {
        link: wiring.link.clone(),
        solo,
        act: wiring.act,
        correlations: Arc::clone(&wiring.correlations),
        names: Arc::clone(names),
    };
    let acted = match wiring.act {
        Act::Settled => acted::settled(admitted),
        Act::Early => early,
    };
    let (opened, gathered) = incidents(acted, matches, revisions, clock.clone(), settings, keeper);
    let watched = watch(opened, clock.clone(), solo, keeper);
    let facts = facts::join(watched.entities, watched.addresses, context, names);
    let enriched = facts::attach(watched.versions, facts, clock.clone(), keeper);
    let enriched = match wiring.span {
        Span::Cluster { workers, first_judges: true } => {
            enriched.exchange(move |version: &Enriched| route(version.incident.tenant) % workers as u64)
        }
        Span::Cluster { first_judges: false, .. } | Span::Process => enriched,
    };
    let judged = judge(enriched, ranker, with.clone());
    let (ruled, weighed) = ruling(judged, approvals, clock, with, keeper);

    out.leave(seen, |epoch, seen| [Output::Rows(epoch, seen_rows(seen))]);
    out.leave(gathered, |epoch, gathered| [gathered_out(epoch, gathered)]);
    out.leave(weighed, move |epoch, weighed| weighed_out(epoch, weighed, &told));
    out.leave(ruled, |epoch, ruled| [Output::Ruled(epoch, ruled)]);
}

type Nothing = CapacityContainerBuilder<Vec<()>>;

/// Where streams leave the dataflow.
struct Out<'a, 'scope> {
    outputs: &'a Sender<Output>,
    probe: &'a ProbeHandle<Epoch>,
    span: Span,
    /// Streams that end with the epochs whose records have left.
    left: RefCell<Vec<Stream<'scope, ()>>>,
}

impl<'scope> Out<'_, 'scope> {
    /// Sends a stream's records out.
    fn leave<D: ExchangeData + Clone, O: IntoIterator<Item = Output>>(
        &self,
        stream: Stream<'scope, D>,
        output: impl Fn(Epoch, D) -> O + 'static,
    ) {
        let outputs = self.outputs.clone();
        let send = move |epoch: Option<Epoch>, data: &mut Vec<D>| {
            let Some(epoch) = epoch else { return };
            for output in data.drain(..).flat_map(|record| output(epoch, record)) {
                // Where nobody listens any more the run has failed, and said why.
                let _ = outputs.send(output);
            }
        };
        let left = match self.span {
            Span::Process => stream.unary::<Nothing, _, _, _>(Pipeline, "leave", |_, _| {
                move |input, _| input.for_each(|cap, data| send(cap.least().copied(), data))
            }),
            Span::Cluster { .. } => stream.unary::<Nothing, _, _, _>(By::new(|_: &D| 0), "leave", |_, _| {
                move |input, _| input.for_each(|cap, data| send(cap.least().copied(), data))
            }),
        };
        self.left.borrow_mut().push(left.probe_with(self.probe));
    }
}

/// How many alerts and findings more lack the number that a correlation adds up: each process counts its own, and tells the
/// first when an epoch's findings are known.
fn without_number<'scope>(
    matches: Stream<'scope, (Finding, Diff)>,
    clock: Stream<'scope, Turn>,
    wiring: &Wiring,
) -> Stream<'scope, (u32, Diff)> {
    let (rules, own) = (Arc::clone(&wiring.correlations), clock.scope().worker().index());
    let Span::Cluster { workers, .. } = wiring.span else { unreachable!("one process counts for itself") };
    let tells = own >= workers && own.is_multiple_of(workers);
    let mut told = vec![0; rules.len()];
    let nothing = Vec::<()>::new().to_stream(clock.scope());
    let (more, _) = turns("without number", (matches, Pipeline), (nothing, Pipeline), clock, move |work| {
        for ((at, rule), told) in (0..).zip(rules.iter()).zip(&mut told) {
            let count = rule.without_number().cast_signed();
            if tells && count != *told {
                work.out.push((at, count - *told));
                *told = count;
            }
        }
        let _: &mut Vec<()> = work.side;
    });
    more
}

fn counted_rows(epoch: Epoch, counted: Counted) -> [Output; 2] {
    [Output::Alerts(epoch, counted.alerts), Output::Rows(epoch, Rows::Duplicates(counted.duplicates))]
}

fn seen_rows(seen: Seen) -> Rows {
    match seen {
        Seen::Alerts(alerts) => {
            Rows::Alerts(alerts.into_iter().map(|(alert, repeat_of)| AlertRow { alert, repeat_of }).collect())
        }
        Seen::Duplicates(duplicates) => Rows::Duplicates(duplicates),
    }
}

fn gathered_out(epoch: Epoch, gathered: Gathered) -> Output {
    match gathered {
        Gathered::Members(members) => Output::Rows(epoch, Rows::Members(members)),
        Gathered::Links(links) => Output::Rows(epoch, Rows::Links(links)),
        Gathered::Withdrawn(findings) => Output::Withdrawn(epoch, findings),
    }
}

fn weighed_out(epoch: Epoch, weighed: Weighed, with: &Proposing) -> Vec<Output> {
    let (rows, scores) = match weighed {
        Weighed::Versions(versions) => {
            let scores =
                versions.iter().filter_map(|judged| scores::row(judged, &with.playbooks, &with.names));
            let scores = scores.collect();
            (Rows::Incidents(versions.into_iter().map(incident_row).collect()), scores)
        }
        Weighed::Candidates(candidates) => (Rows::Candidates(candidates), Vec::new()),
        Weighed::Grounds(grounds) => return vec![Output::Grounds(epoch, grounds)],
    };
    let rows = [rows, Rows::Inputs(scores)].into_iter().filter(|rows| !rows.is_empty());
    rows.map(|rows| Output::Rows(epoch, rows)).collect()
}

fn incident_row(judged: Judged) -> IncidentRow {
    IncidentRow {
        incident: judged.incident,
        judgement: Some(judged.judgement),
        features: Some(judged.features),
        context: (*judged.facts).clone(),
    }
}
