//! The workers: each takes its share of every epoch, and one says when an epoch is done everywhere.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use timely::WorkerConfig;
use timely::communication::WorkerGuards;
use timely::communication::allocator::thread::Thread;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{Allocator, AllocatorBuilder, ProcessBuilder};
use timely::communication::{Config, Hooks};
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use super::dataflow::{Handle, Inputs, Output, Span, Wiring, build};
use super::handing::hand;
use super::live::reader::Fed;
use super::metrics::Metrics;
use crate::cluster::Peers;
use crate::correlate::revision::Revised;
use crate::flow::{Turn, fate};
use crate::rank::RankService;
use crate::record::input::Approval;
use crate::record::wire;
use crate::record::{Alert, ContextRow, Diff, Entity, Epoch};

/// What one worker takes of one epoch.
pub struct Share {
    /// The turn.
    pub turn: Turn,
    /// Its alerts.
    pub alerts: Vec<Arc<Alert>>,
    /// Changes of context tables; the first worker's only.
    pub context: Vec<((Entity, ContextRow), Diff)>,
    /// People's answers; the first worker's only.
    pub approvals: Vec<Approval>,
    /// Incidents taken apart, and what never links from now on; the first worker's only.
    pub revisions: Vec<Revised>,
}

/// Epochs that may lie before a worker that has not begun them: the feed's own bound is tighter.
pub const QUEUED_MAX: usize = 64;
/// How long an idle worker sleeps before it looks for its next share.
const IDLE: Duration = Duration::from_micros(200);

/// Running workers.
pub struct Workers {
    shares: Vec<Sender<Share>>,
    /// Their threads; none where the one worker is stepped by hand.
    guards: Option<WorkerGuards<()>>,
}

/// Who works at the dataflow.
pub enum Crew {
    /// So many workers of this process alone.
    Alone(usize),
    /// Those of this process of a cluster.
    Cluster(Peers),
}

impl Crew {
    /// Over which processes they are spread, and whether the first of these judges for all.
    #[must_use]
    pub fn span(&self, first_judges: bool) -> Span {
        match self {
            Crew::Alone(_) => Span::Process,
            Crew::Cluster(peers) => Span::Cluster { workers: peers.workers, first_judges },
        }
    }

    fn workers(&self) -> usize {
        match self {
            Crew::Alone(count) => *count,
            Crew::Cluster(peers) => peers.workers,
        }
    }

    fn start(self, work: impl Fn(&mut Worker) + Send + Sync + 'static) -> Result<WorkerGuards<()>, String> {
        let (builders, others, tongues) = match self {
            Crew::Alone(count) => {
                let config = if count == 1 { Config::Thread } else { Config::Process(count) };
                let (builders, others) = config.try_build()?;
                (builders, others, None)
            }
            Crew::Cluster(Peers { process, workers, links, tongues, .. }) => {
                let hooks = Hooks::default();
                let own =
                    ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), hooks.spill.clone());
                let (builders, guard) =
                    initialize_networking_from_sockets(own, links, process, workers, hooks)
                        .map_err(|error| error.to_string())?;
                let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
                (builders, Box::new(guard) as Box<dyn Any + Send>, Some(tongues))
            }
        };
        timely::execute::execute_from(builders, others, WorkerConfig::default(), move |worker| {
            let _alarm = Alarm;
            if let Some(tongues) = &tongues {
                wire::enter(Arc::clone(tongues));
            }
            work(worker);
        })
    }
}

/// A worker that panics takes the process with it: the others would wait for its progress for ever. What is committed
/// is safe, and `--resume` goes on from there.
struct Alarm;

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("quell: a worker failed, as told above: please report it; the archive can be resumed");
            std::process::exit(1);
        }
    }
}

impl Workers {
    /// Starts those of the first process, which may be the only one; `outputs` gets what leaves the dataflow, and each turn
    /// when it is done everywhere.
    pub fn start(
        crew: Crew,
        wiring: &Wiring,
        ranker: RankService,
        outputs: &Sender<Output>,
    ) -> Result<Workers, String> {
        let (shares, queues): (Vec<_>, Vec<_>) = (0..crew.workers()).map(|_| bounded(QUEUED_MAX)).unzip();
        let queues: Vec<Mutex<Option<Receiver<Share>>>> =
            queues.into_iter().map(|q| Mutex::new(Some(q))).collect();
        let (wiring, outputs) = (wiring.clone(), Mutex::new(outputs.clone()));
        let guards = crew.start(move |worker| {
            let queue = queues[worker.index()].lock().ok().and_then(|mut queue| queue.take());
            let outputs = outputs.lock().ok().map(|outputs| outputs.clone());
            let (Some(queue), Some(outputs)) = (queue, outputs) else { return };
            work(worker, &wiring, &ranker, &queue, &outputs);
        })?;
        Ok(Workers { shares, guards: Some(guards) })
    }

    /// One worker without a thread, and itself: see [`Hand`].
    pub fn by_hand(wiring: &Wiring, ranker: &RankService, outputs: &Sender<Output>) -> (Workers, Hand) {
        let (shares, queue) = unbounded();
        (Workers { shares: vec![shares], guards: None }, Hand::new(wiring, ranker, queue, outputs.clone()))
    }

    /// Starts those of another process, which get their work from the first, and waits until they end. What their process
    /// reads comes through `fed`, one for each, or none where it reads nothing; how far they are is noted.
    pub fn serve(
        peers: Peers,
        wiring: &Wiring,
        ranker: RankService,
        (fed, metrics): (Vec<Receiver<Fed>>, &Metrics),
    ) -> Result<(), String> {
        let fed: Vec<_> = fed.into_iter().map(|fed| Mutex::new(Some(fed))).collect();
        let wiring = Wiring { past: Some(Arc::default()), ..wiring.clone() };
        let metrics = metrics.clone();
        let guards = Crew::Cluster(peers).start(move |worker| {
            // What leaves the dataflow leaves it elsewhere.
            let (outputs, _) = bounded(0);
            begin(worker, &wiring);
            let (inputs, probe) = build(worker, &wiring, &ranker, &outputs);
            // All else that is said from now on hangs on the first process alone.
            let Inputs { alerts, turns, context, approvals, revisions } = inputs;
            drop((turns, context, approvals, revisions));
            let own = worker.index() % wiring.span.workers();
            let metrics = if own == 0 { metrics.clone() } else { Metrics::default() };
            let mut progress = Progress { metrics, probe, noted: 0 };
            match fed.get(own).and_then(|queue| queue.lock().ok()?.take()) {
                Some(queue) => eat(worker, alerts, &queue, &mut progress),
                None => drop(alerts),
            }
            while !progress.probe.done() {
                worker.step_or_park(Some(IDLE));
                progress.note();
            }
        })?;
        guards.join().into_iter().collect()
    }

    /// Gives each worker its share of an epoch; false where a worker has died.
    #[must_use]
    pub fn feed(
        &self,
        turn: Turn,
        alerts: Vec<Arc<Alert>>,
        context: Vec<((Entity, ContextRow), Diff)>,
        approvals: Vec<Approval>,
        revisions: Vec<Revised>,
    ) -> bool {
        let (mut context, mut approvals, mut revisions) = (Some(context), Some(approvals), Some(revisions));
        let each = alerts.len().div_ceil(self.shares.len()).max(1);
        let mut alerts = alerts.into_iter();
        for queue in &self.shares {
            let own = alerts.by_ref().take(each).collect();
            let share = Share {
                turn,
                alerts: own,
                context: context.take().unwrap_or_default(),
                approvals: approvals.take().unwrap_or_default(),
                revisions: revisions.take().unwrap_or_default(),
            };
            if queue.send(share).is_err() {
                return false;
            }
        }
        true
    }

    /// Lets the workers end, and waits for it; the message of one that panicked.
    pub fn finish(self) -> Result<(), String> {
        drop(self.shares);
        let Some(guards) = self.guards else { return Ok(()) };
        guards.join().into_iter().collect()
    }
}

/// Every process gets what an earlier run kept, if there is anything.
fn begin(worker: &mut Worker, wiring: &Wiring) {
    if let Span::Cluster { workers, .. } = wiring.span {
        hand(worker, &wiring.past.clone().unwrap_or_default(), workers);
    }
}

fn work(
    worker: &mut Worker,
    wiring: &Wiring,
    ranker: &RankService,
    queue: &Receiver<Share>,
    outputs: &Sender<Output>,
) {
    begin(worker, wiring);
    let (mut inputs, probe) = build(worker, wiring, ranker, outputs);
    let mut under_way = UnderWay { turns: VecDeque::new(), first: worker.index() == 0 };
    let alone = worker.peers() == 1;
    loop {
        // Where nothing is under way, and no other worker has anything for this one, only a share gives it work.
        let idle = alone && under_way.turns.is_empty();
        let next = if idle { queue.recv().map_err(|_| TryRecvError::Disconnected) } else { queue.try_recv() };
        match next {
            Ok(share) => {
                under_way.take(&mut inputs, share);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(IDLE));
            }
            Err(TryRecvError::Disconnected) => break,
        }
        under_way.tell(&probe, outputs);
    }
    drop(inputs);
    while !probe.done() {
        worker.step_or_park(Some(IDLE));
        under_way.tell(&probe, outputs);
    }
    under_way.tell(&probe, outputs);
}

/// Turns that a worker has begun.
struct UnderWay {
    turns: VecDeque<Turn>,
    /// Whether this is the worker that gets them, and says when they are done.
    first: bool,
}

impl UnderWay {
    fn take(&mut self, inputs: &mut Inputs, share: Share) {
        if self.first {
            self.turns.push_back(share.turn);
        }
        take(inputs, share, self.first);
    }

    fn tell(&mut self, probe: &ProbeHandle<Epoch>, outputs: &Sender<Output>) {
        while let Some(turn) = self.turns.pop_front_if(|turn| !probe.less_equal(&turn.epoch)) {
            // Nobody listens where the run has failed.
            // What other workers sent of this epoch lies in the channel already: their progress came after it.
            let _ = outputs.send(Output::Done(turn));
        }
    }
}

/// One worker that has no thread: whoever holds it does its work, a step at a time.
pub struct Hand {
    worker: Worker,
    inputs: Option<Inputs>,
    probe: ProbeHandle<Epoch>,
    queue: Receiver<Share>,
    outputs: Sender<Output>,
    under_way: UnderWay,
}

impl Hand {
    fn new(wiring: &Wiring, ranker: &RankService, queue: Receiver<Share>, outputs: Sender<Output>) -> Hand {
        let mut worker = Worker::new(WorkerConfig::default(), Allocator::Thread(Thread::default()), None);
        let (inputs, probe) = build(&mut worker, wiring, ranker, &outputs);
        let under_way = UnderWay { turns: VecDeque::new(), first: true };
        Hand { worker, inputs: Some(inputs), probe, queue, outputs, under_way }
    }

    /// Whether a step would do anything.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.under_way.turns.is_empty()
    }

    /// Takes a share, where one lies ready, and steps once.
    pub fn step(&mut self) {
        match (self.queue.try_recv(), &mut self.inputs) {
            (Ok(share), Some(inputs)) => {
                fate::works_on(&share.alerts);
                self.under_way.take(inputs, share);
            }
            (Err(TryRecvError::Disconnected), inputs) => *inputs = None,
            (Ok(_) | Err(TryRecvError::Empty), _) => {}
        }
        self.worker.step();
        self.under_way.tell(&self.probe, &self.outputs);
    }

    /// Steps until all is done: nobody gives it work any more.
    pub fn finish(mut self) {
        self.inputs = None;
        while !self.probe.done() {
            self.step();
        }
        self.under_way.tell(&self.probe, &self.outputs);
    }
}

/// How far another process than the first is.
struct Progress {
    metrics: Metrics,
    probe: ProbeHandle<Epoch>,
    /// The last epoch of which it was told that it is worked off.
    noted: Epoch,
}

impl Progress {
    fn note(&mut self) {
        let next = self.probe.with_frontier(|frontier| frontier.first().copied());
        if let Some(done) = next.map(|next| next.saturating_sub(1)).filter(|done| *done > self.noted) {
            self.noted = done;
            self.metrics.worked(done);
        }
    }
}

/// Takes what this process read, epoch by epoch, until there is no more.
fn eat(worker: &mut Worker, mut alerts: Handle<Arc<Alert>>, queue: &Receiver<Fed>, progress: &mut Progress) {
    loop {
        progress.note();
        match queue.try_recv() {
            Ok((epoch, own)) => {
                alerts.advance_to(epoch);
                send(&mut alerts, own);
                alerts.advance_to(epoch + 1);
                worker.step();
            }
            Err(TryRecvError::Empty) => {
                worker.step_or_park(Some(IDLE));
            }
            Err(TryRecvError::Disconnected) => break,
        }
    }
}

fn send(to: &mut Handle<Arc<Alert>>, alerts: Vec<Arc<Alert>>) {
    const BATCH: usize = 1024;
    let mut alerts = alerts.into_iter();
    while alerts.len() > 0 {
        let mut batch: Vec<Arc<Alert>> = alerts.by_ref().take(BATCH).collect();
        to.send_batch(&mut batch);
    }
}

fn take(inputs: &mut Inputs, share: Share, first: bool) {
    let epoch = share.turn.epoch;
    inputs.alerts.advance_to(epoch);
    inputs.turns.advance_to(epoch);
    inputs.approvals.advance_to(epoch);
    inputs.revisions.advance_to(epoch);
    inputs.context.advance_to(epoch);
    send(&mut inputs.alerts, share.alerts);
    if first {
        inputs.turns.send(share.turn);
    }
    for (row, diff) in share.context {
        inputs.context.update(row, diff);
    }
    for approval in share.approvals {
        inputs.approvals.send(approval);
    }
    for revision in share.revisions {
        inputs.revisions.send(revision);
    }
    inputs.alerts.advance_to(epoch + 1);
    inputs.turns.advance_to(epoch + 1);
    inputs.approvals.advance_to(epoch + 1);
    inputs.revisions.advance_to(epoch + 1);
    inputs.context.advance_to(epoch + 1);
    inputs.context.flush();
}
