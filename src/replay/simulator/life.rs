//! A life: one process of `quell run`, from recovery to its end, as its feed leads it.
//!
//! It does what the command does, in the same order, with the same parts: recovery, the log again, the tables and the time, then
//! epochs of records, words and moves of clocks; and its end. Threads are steps here: see [`Backstage`].

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::drawn::{Handle, may_crash, of};
use super::people::Listener;
use super::sources::PUSHED;
use super::stage::Stage;
use super::world::Door;
use crate::act::{Executor, Orders, Webhook};
use crate::archive::snapshots::{self, Snapshot};
use crate::archive::{RunStamp, recover};
use crate::engine::beginning::Beginning;
use crate::engine::crier::{Crier, Criers};
use crate::engine::journal::{Effects, Journal, Said};
use crate::engine::live::{Live, Source, SourceKept, Stream};
use crate::engine::log::{Entry, Log, LoggedEpoch, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::run::{Backstage, Batch, Choose, Run, Settings};
use crate::engine::scribe::Scribe;
use crate::engine::summary::Summary;
use crate::engine::workers::Crew;
use crate::flow::Turn;
use crate::flow::kept::Past;
use crate::ingest::Limits;
use crate::ingest::live::Heard;
use crate::normalize::SourceSettings;
use crate::plan::policy::Act;
use crate::rank::{PlaybookTraits, Ranker};
use crate::record::{Epoch, InputKind, Names, Tick};

/// Why a process stopped, in words: of a disk that failed, or of a fault in the program.
pub(super) type Stopped = String;

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn stopped(error: impl ToString) -> Stopped {
    error.to_string()
}

/// See the head of this file.
pub(super) struct Life {
    handle: Handle,
    dir: PathBuf,
    live: Live,
    journal: Journal,
    run: Run,
    backstage: Rc<RefCell<Backstage>>,
    scribe: Scribe,
    names: Arc<Names>,
    /// The last pushed batch and the last word that were taken.
    at: (i64, i64),
    files: Vec<Sender<Heard>>,
    begins: Option<(Turn, Vec<SourceKept>)>,
    keeps: bool,
    most: usize,
}

impl Life {
    /// Begins where the process before ended.
    pub(super) fn begin(handle: &Handle, stage: &Stage, dir: &Path) -> Result<Life, Stopped> {
        let mut log = Log::open(dir).map_err(stopped)?;
        log.claim().map_err(stopped)?;
        let committed = log.committed().map_err(stopped)?;
        recover(dir, committed).map_err(stopped)?;
        let committed = committed.map_or(0, |(epoch, _)| epoch);
        let names = Arc::new(Names::default());
        let ranker = ranker(stage);
        let stamp = RunStamp { plan_hash: stage.plan.hash.clone(), model_version: ranker.version() };
        let mut complaints = Vec::new();
        let found = snapshots::latest(&dir.join(STATE_FOLDER), committed, &stamp, |why| complaints.push(why));
        let beginning = found.map_err(stopped)?;
        if let Some(complaint) = complaints.pop() {
            of(handle).note(complaint);
        }
        let beginning = beginning.map(|Snapshot { turn, kept }| Beginning { turn, past: Past::of(kept) });
        let begins = beginning.as_ref().map(|it| (it.turn, it.sources(&names)));
        let settings = Settings {
            plan: Arc::clone(&stage.plan),
            names: Arc::clone(&names),
            archive: dir.to_owned(),
            crew: Crew::Alone(1),
            ranker,
            recall: None,
            executor: executor(handle, stage),
            asks: None,
            act: stage.act,
            journaled: stage.act == Act::Early,
            committed,
            criers: Criers { findings: None, decisions: Some(listener(handle, &names)) },
            sinks: None,
            metrics: Metrics::default(),
            beginning,
        };
        let run = Run::by_hand(settings, stage.commit_every(), chooser(handle)).map_err(stopped)?;
        let (live, files) = live(handle, stage, &names);
        let scribe = Scribe::by_hand(dir).map_err(stopped)?;
        let backstage = run.backstage().ok_or("a run by hand has no threads")?;
        Ok(Life {
            handle: Arc::clone(handle),
            dir: dir.to_owned(),
            live,
            journal: Journal::new(log, scribe.clone(), Arc::clone(&names)),
            run,
            backstage,
            scribe,
            names,
            at: (0, 0),
            files,
            begins,
            keeps: stage.keeps,
            most: stage.most,
        })
    }

    /// Where it lives.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes what the log has once more.
    pub(super) fn again(&mut self) -> Result<(), Stopped> {
        let through = self.begin_with()?;
        let epochs = self.journal.log().epochs_after(through).map_err(stopped)?;
        of(&self.handle).note(format!("again: {} epochs", epochs.len()));
        let taken = self.journal.log().taken_between(through + 1, Epoch::MAX).map_err(stopped)?;
        let mut taken = taken.into_iter().peekable();
        for logged in &epochs {
            let mut said = Vec::new();
            while let Some(input) = taken.next_if(|input| input.epoch.is_some_and(|at| at <= logged.epoch)) {
                said.extend(Said::logged(input));
            }
            while self.live.lacks(logged) && self.load()? > 0 {}
            let effects = Effects::of(&said, &self.names);
            let batch = self.live.again(logged, effects)?.ok_or("a source stopped")?;
            let taken = self.run.take(batch) && self.run.logged(logged.epoch);
            self.goes(taken)?;
        }
        Ok(())
    }

    /// Begins with what was kept, where something was: the epoch at whose end.
    fn begin_with(&mut self) -> Result<Epoch, Stopped> {
        let Some((turn, sources)) = self.begins.take() else { return Ok(0) };
        let said = self.journal.log().taken_between(1, turn.epoch).map_err(stopped)?;
        let said: Vec<Said> = said.into_iter().filter_map(Said::logged).collect();
        let effects = Effects::of(&said, &self.names);
        self.live.pass_far(turn.epoch, &effects)?;
        let parts = self.journal.log().parts_through(turn.epoch).map_err(stopped)?;
        let passed = LoggedEpoch { epoch: turn.epoch, settled: turn.settled, last: false, parts };
        while self.live.lacks(&passed) && self.load()? > 0 {}
        self.live.pass(&passed)?;
        let mut before = Batch::default();
        effects.fill(&mut before);
        of(&self.handle).count("beginnings with what was kept");
        self.live.begin_at(turn.settled, &sources);
        let begun = self.run.begin_at(turn, before);
        self.goes(begun)?;
        Ok(turn.epoch)
    }

    /// Goes on from there.
    pub(super) fn go_on(&mut self) -> Result<(), Stopped> {
        let now = of(&self.handle).now;
        self.live.begin(now);
        self.take(0, &[Said::as_of(now)])
    }

    /// Records, words and moves of clocks that are there become an epoch.
    pub(super) fn turn(&mut self) -> Result<(), Stopped> {
        let now = of(&self.handle).now;
        self.live.pull(now)?;
        self.load()?;
        let mut said = self.words()?;
        if !said.iter().any(Said::stands_alone) {
            let moves = self.live.moves(now);
            said.extend(moves.into_iter().map(Said::moved));
        }
        if self.live.waiting() == 0 && said.is_empty() {
            return Ok(());
        }
        let most = if said.iter().any(Said::stands_alone) { 0 } else { self.most };
        self.take(most, &said)
    }

    /// Everything that is there is taken, and all sources end.
    pub(super) fn end(mut self) -> Result<Summary, Stopped> {
        loop {
            self.live.pull(of(&self.handle).now)?;
            let said = self.words()?;
            if self.load()? == 0 && self.live.waiting() == 0 && said.is_empty() {
                break;
            }
            let most = if said.iter().any(Said::stands_alone) { 0 } else { self.most };
            self.take(most, &said)?;
        }
        self.live.close();
        while !self.batch(self.most, &[], true)? {}
        self.finish()
    }

    /// Everything is done that was begun, and no more.
    pub(super) fn finish(self) -> Result<Summary, Stopped> {
        let divergences = self.live.divergences;
        drop(self.backstage);
        let (mut summary, _) = self.run.finish().map_err(stopped)?;
        summary.divergences += divergences;
        Ok(summary)
    }

    /// A step of somebody behind the feed; false where nobody has anything to do.
    pub(super) fn step(&mut self) -> Result<bool, Stopped> {
        let stepped = self.backstage.borrow_mut().step();
        self.goes(!self.run.has_failed())?;
        Ok(stepped)
    }

    /// What is done is shown.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        let flushed = self.run.flush();
        self.goes(flushed)
    }

    /// A file has grown.
    pub(super) fn grown(&mut self, file: usize, bytes: Vec<u8>) {
        let _ = self.files[file].send(Heard::Bytes(bytes));
    }

    /// A batch is pushed; whether it is new, or why it is not taken.
    pub(super) fn push(&mut self, text: &str, key: &str) -> Result<bool, Stopped> {
        let body = json!({ "source": PUSHED, "text": text }).to_string();
        let key = Some(format!("push/{PUSHED}/{key}"));
        self.scribe.write(Entry::Input { kind: InputKind::Push.name(), body, key }).map_err(stopped)
    }

    /// What came out otherwise than before, so far.
    pub(super) fn divergences(&self) -> u64 {
        self.live.divergences + self.backstage.borrow().divergences()
    }

    fn goes(&mut self, goes: bool) -> Result<(), Stopped> {
        if goes {
            return Ok(());
        }
        let failed = self.backstage.borrow_mut().failed();
        Err(failed.map_or_else(|| "the run goes on no further".to_owned(), stopped))
    }

    fn take(&mut self, most: usize, said: &[Said]) -> Result<(), Stopped> {
        self.batch(most, said, false).map(drop)
    }

    /// One epoch; whether it was the last.
    fn batch(&mut self, most: usize, said: &[Said], ending: bool) -> Result<bool, Stopped> {
        may_crash(&self.handle, 1);
        let effects = Effects::of(said, &self.names);
        if let Some(strange) = effects.strange.first() {
            return Err(format!("a word that is not understood: {strange}"));
        }
        let mut batch = self.live.batch(most, effects, ending)?;
        let last = batch.last;
        let epoch = self.run.epoch() + 1;
        of(&self.handle).note(format!(
            "epoch {epoch}: {} alerts, {} words, settled {}{}",
            batch.alerts.len(),
            said.len(),
            batch.settled,
            if last { ", the last" } else { "" }
        ));
        if self.keeps && of(&self.handle).dice.chance(100_000) {
            batch.keeps = Some(self.live.keep());
        }
        self.journal.note(epoch, &batch, said).map_err(stopped)?;
        let mut taken = self.run.take(batch);
        if self.run.is_journaled() {
            self.journal.sync().map_err(stopped)?;
            taken &= self.run.logged(epoch);
        }
        self.goes(taken)?;
        Ok(last)
    }

    fn load(&mut self) -> Result<usize, Stopped> {
        let batches = self.journal.log().pushes(self.at.0, 64).map_err(stopped)?;
        let now = of(&self.handle).now;
        for batch in &batches {
            let body: Value = serde_json::from_str(&batch.body).map_err(stopped)?;
            let text = body["text"].as_str().ok_or("a batch without text")?;
            self.live.push(PUSHED, text, batch.key.as_deref(), now);
            self.at.0 = batch.id;
        }
        Ok(batches.len())
    }

    /// What people said since: up to one that takes an incident apart, or that one alone.
    fn words(&mut self) -> Result<Vec<Said>, Stopped> {
        let mut said: Vec<Said> = Vec::new();
        for word in self.journal.log().waiting(self.at.1).map_err(stopped)? {
            let id = word.id;
            let word = Said::logged(word);
            let alone = word.as_ref().is_some_and(Said::is_unlink);
            if alone && !said.is_empty() {
                break;
            }
            self.at.1 = id;
            said.extend(word);
            if alone {
                break;
            }
        }
        Ok(said)
    }
}

fn ranker(stage: &Stage) -> Ranker {
    let traits = stage.plan.playbooks.iter().map(|playbook| {
        PlaybookTraits::of(&playbook.verbs(), &playbook.target_kinds(), &playbook.labels, playbook.impact)
    });
    Ranker::untrained(&traits.collect::<Vec<_>>())
}

/// Ticks that a receipt may take.
const RECEIPT_S: Tick = 120;

fn executor(handle: &Handle, stage: &Stage) -> Executor {
    let world = Box::new(Door(Arc::clone(handle)));
    if stage.topic {
        Executor::Orders(Orders::simulated(world, RECEIPT_S))
    } else {
        Executor::Webhook(Webhook::simulated(world))
    }
}

fn listener(handle: &Handle, names: &Arc<Names>) -> Crier {
    Crier::new(Box::new(Listener(Arc::clone(handle))), Arc::clone(names))
}

fn chooser(handle: &Handle) -> Choose {
    let handle = Arc::clone(handle);
    Box::new(move |ready| {
        may_crash(&handle, 0);
        let mut drawn = of(&handle);
        drawn.dice.pick(ready)
    })
}

/// Sources as the files and the log have them.
fn live(handle: &Handle, stage: &Stage, names: &Arc<Names>) -> (Live, Vec<Sender<Heard>>) {
    let mut drawn = of(handle);
    let settings = |name: &str, as_of| SourceSettings {
        name: names.intern(name),
        tenant: names.intern("default"),
        tenant_from_field: false,
        zone: TimeZone::UTC,
        as_of,
        future_max_ms: 7 * 86_400_000,
    };
    let now = drawn.now;
    let (mut sources, mut tells) = (Vec::new(), Vec::new());
    for file in &stage.sources.files {
        let (tell, stream) = file.follow(&mut drawn.dice);
        let streams = vec![(Stream::Bytes(stream), 0)];
        sources.push(Source { settings: settings(&file.name, now), wall: false, severe: false, streams });
        tells.push(tell);
    }
    if stage.sources.pushed > 0 {
        let streams = vec![(Stream::Pushed, 0)];
        sources.push(Source { settings: settings(PUSHED, now), wall: stage.wall, severe: false, streams });
    }
    let live = Live::new(sources, &stage.plan.mappings(), names, stage.plan.lateness_s, Limits::default());
    (live, tells)
}
