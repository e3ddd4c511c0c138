//! A life: one process of `quell run`, from recovery to its end, as its feed leads it.
//!
//! It does what the command does, in the same order, with the same parts: recovery, caution, the log again, the tables and the time,
//! then turns; and its end. What is taken when, and what is durable before what, is the product's own [`Feed`]. Threads are steps
//! here: see [`Backstage`].

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use crossbeam_channel::Sender;
use jiff::tz::TimeZone;

use super::drawn::{Handle, may_crash, of};
use super::people::Listener;
use super::sources::{PUSHED, RULES};
use super::stage::Stage;
use super::world::Door;
use crate::act::{Common, Executor, Orders, Webhook};
use crate::archive::recover;
use crate::archive::snapshots::{self, By, Snapshot};
use crate::engine::beginning::Beginning;
use crate::engine::caution::Caution;
use crate::engine::crier::{Crier, Criers};
use crate::engine::feed::{Feed, Keeping, Models, Parts, Turned};
use crate::engine::journal::Journal;
use crate::engine::live::{Live, Source, SourceKept, Stream};
use crate::engine::log::{Log, STATE_FOLDER};
use crate::engine::metrics::Metrics;
use crate::engine::pushed;
use crate::engine::run::{Backstage, Choose, Run, Settings};
use crate::engine::scribe::Scribe;
use crate::engine::summary::Summary;
use crate::engine::withdrawals::Withdrawer;
use crate::engine::workers::Crew;
use crate::featurize::features::history_keys;
use crate::flow::Turn;
use crate::flow::kept::Past;
use crate::ingest::Limits;
use crate::ingest::live::{Bell, Heard};
use crate::normalize::SourceSettings;
use crate::plan::policy::Act;
use crate::rank::history::History;
use crate::rank::{Model, PlaybookTraits, Ranker};
use crate::record::{Epoch, Names, Tick};

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
    feed: Feed,
    backstage: Rc<RefCell<Backstage>>,
    /// What models see of the plan's playbooks.
    traits: Vec<PlaybookTraits>,
    scribe: Scribe,
    files: Vec<Sender<Heard>>,
    cautious: Rc<Cautious>,
}

/// What is known of processes that ended before, and the log that has it.
type Cautious = (Caution, Log);

impl Life {
    /// Begins where the process before ended.
    pub(super) fn begin(handle: &Handle, stage: &Stage, dir: &Path) -> Result<Life, Stopped> {
        let mut log = Log::open(dir).map_err(stopped)?;
        log.claim().map_err(stopped)?;
        let committed = log.committed().map_err(stopped)?;
        recover(dir, committed).map_err(stopped)?;
        let committed = committed.map_or(0, |(epoch, _)| epoch);
        let tell = |what| of(handle).note(what);
        let caution = Caution::begin(&mut log, committed, (stage.most, stage.act), tell).map_err(stopped)?;
        let cautious = Rc::new((caution, log));
        let life = Life::attended(handle, stage, dir, &cautious, committed);
        life.map_err(|why| told(handle, &cautious, why))
    }

    fn attended(
        handle: &Handle,
        stage: &Stage,
        dir: &Path,
        cautious: &Rc<Cautious>,
        committed: Epoch,
    ) -> Result<Life, Stopped> {
        let names = Arc::new(Names::default());
        let scribe = Scribe::by_hand(dir).map_err(stopped)?;
        let bell = Bell::new().0;
        let said = Withdrawer::new(&scribe, &bell);
        let (run, begins) = run(handle, stage, &names, (dir, committed), said)?;
        let backstage = run.backstage().ok_or("a run by hand has no threads")?;
        let (mut live, files) = live(handle, stage, &names);
        let log = Log::open(dir).map_err(stopped)?;
        live.quarantined = log.quarantined().map_err(stopped)?;
        let (clock, teller) = (Arc::clone(handle), Arc::clone(handle));
        let feed = Feed::new(Parts {
            run,
            live,
            journal: Journal::new(log, scribe.clone(), names),
            caution: cautious.0.clone(),
            begins,
            keeping: Keeping::every(stage.keeps_ms),
            models: models(stage),
            bell,
            pushed_bytes: Arc::default(),
            clock: Box::new(move || of(&clock).now),
            tell: Box::new(move |what| of(&teller).note(what)),
        });
        // Whoever took the log over meanwhile has it: what was opened since would write in its name.
        cautious.1.held().map_err(stopped)?;
        let (handle, dir, cautious) = (Arc::clone(handle), dir.to_owned(), Rc::clone(cautious));
        let traits = traits(stage);
        Ok(Life { handle, dir, feed, backstage, traits, scribe, files, cautious })
    }

    /// Where it lives.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes what the log has once more.
    pub(super) fn again(&mut self) -> Result<(), Stopped> {
        let there = self.feed.again(|_| {}).map_err(stopped)?;
        self.goes(there && !self.feed.run().has_failed())
    }

    /// Goes on from there.
    pub(super) fn go_on(&mut self) -> Result<(), Stopped> {
        let begun = self.feed.begin(None).map_err(stopped)?;
        self.goes(begun)
    }

    /// Records, words and moves of clocks that are there become an epoch, if it is time.
    pub(super) fn turn(&mut self) -> Result<(), Stopped> {
        may_crash(&self.handle, 1);
        match self.feed.turn().map_err(stopped)? {
            Turned::Went | Turned::Idle => Ok(()),
            Turned::Ended => Err("its sources have ended before it".to_owned()),
            Turned::Failed => self.goes(false),
        }
    }

    /// Another model is put to use.
    pub(super) fn promote(&mut self, model: &str) -> Result<(), Stopped> {
        let promoted = self.feed.promote(ranker(&self.traits, model)).map_err(stopped)?;
        self.goes(promoted)
    }

    /// Everything that is there is taken, and all sources end.
    pub(super) fn end(&mut self) -> Result<(), Stopped> {
        self.feed.end().map_err(stopped)?;
        self.goes(!self.feed.run().has_failed())
    }

    /// It is left as it stands.
    pub(super) fn leave(&mut self) -> Result<(), Stopped> {
        self.feed.leave().map_err(stopped)?;
        self.goes(!self.feed.run().has_failed())
    }

    /// Everything is done that was begun, and no more.
    pub(super) fn finish(self) -> Result<Summary, Stopped> {
        let Life { handle, feed, backstage, cautious, .. } = self;
        drop(backstage);
        match feed.finish() {
            Ok((summary, _)) => Caution::end(&cautious.1).map(|()| summary).map_err(stopped),
            Err(why) => Err(told(&handle, &cautious, stopped(why))),
        }
    }

    /// It has said why it ends, and so was not ended by a record.
    pub(super) fn withdraw(&self, why: Stopped) -> Stopped {
        told(&self.handle, &self.cautious, why)
    }

    /// A step of somebody behind the feed; false where nobody has anything to do.
    pub(super) fn step(&mut self) -> Result<bool, Stopped> {
        let stepped = self.backstage.borrow_mut().step();
        self.goes(!self.feed.run().has_failed())?;
        Ok(stepped)
    }

    /// What is done is shown.
    pub(super) fn flush(&mut self) -> Result<(), Stopped> {
        let flushed = self.feed.run_mut().flush();
        self.goes(flushed)
    }

    /// A file has grown.
    pub(super) fn grown(&mut self, file: usize, bytes: Vec<u8>) {
        let _ = self.files[file].send(Heard::Bytes(bytes));
    }

    /// A batch is pushed; whether it is new, or why it is not taken.
    pub(super) fn push(&mut self, text: &str, key: &str) -> Result<bool, Stopped> {
        let now = of(&self.handle).now;
        self.scribe.write(pushed::entry(PUSHED, text, Some(key), now)).map_err(stopped)
    }

    /// What came out otherwise than before, so far.
    pub(super) fn divergences(&self) -> u64 {
        self.feed.live().divergences + self.backstage.borrow().divergences()
    }

    fn goes(&mut self, goes: bool) -> Result<(), Stopped> {
        if goes {
            return Ok(());
        }
        let failed = self.backstage.borrow_mut().failed();
        Err(failed.map_or_else(|| "the run goes on no further".to_owned(), stopped))
    }
}

/// A process that says why it ends counts for nothing, if it can say so.
fn told(handle: &Handle, (caution, log): &Cautious, why: Stopped) -> Stopped {
    if let Err(error) = caution.withdraw(log) {
        let mut drawn = of(handle);
        drawn.abrupt += 1;
        drawn.note(format!("it could not say so: {error}"));
    }
    why
}

/// Where a run begins, and what its sources remembered there.
type Begins = (Turn, Vec<SourceKept>);

/// Its run, and where that begins.
fn run(
    handle: &Handle,
    stage: &Stage,
    names: &Arc<Names>,
    (dir, committed): (&Path, Epoch),
    said: Withdrawer,
) -> Result<(Run, Option<Begins>), Stopped> {
    let complain = |why| of(handle).note(why);
    let by = By { plan: &stage.plan.hash, since: 0 };
    let found = snapshots::latest(&dir.join(STATE_FOLDER), committed, by, complain).map_err(stopped)?;
    let beginning = found.map(|Snapshot { turn, kept }| Beginning { turn, past: Past::of(kept) });
    let begins = beginning.as_ref().map(|it| (it.turn, it.sources(names)));
    if begins.is_some() {
        of(handle).count("beginnings with what was kept");
    }
    let began = begins.as_ref().map_or(0, |(turn, _)| turn.epoch);
    let judged = Log::open(dir).and_then(|log| log.promotions()).map_err(stopped)?;
    let judged = judged.iter().rfind(|(epoch, _)| *epoch <= began).map_or(MODELS[0], |(_, model)| model);
    let ranker = ranker(&traits(stage), judged);
    let executor = executor(handle, stage);
    let settings = Settings {
        ledger: stage.shared.then(|| common(handle, dir)),
        plan: Arc::clone(&stage.plan),
        names: Arc::clone(names),
        archive: dir.to_owned(),
        crew: Crew::Alone(1),
        ranker,
        recall: None,
        first_judges: false,
        journaled: stage.act == Act::Early || executor.is_outside(),
        executor,
        asks: None,
        withdrawals: (stage.act == Act::Early).then_some(said),
        act: stage.act,
        committed,
        criers: Criers { findings: None, decisions: Some(listener(handle, names)) },
        sinks: None,
        metrics: Metrics::default(),
        beginning,
    };
    let run = Run::by_hand(settings, stage.commit_every(), chooser(handle)).map_err(stopped)?;
    Ok((run, begins))
}

/// Where its ledger lies for other machines too; each has an archive of its own, whichever of its lives it is in.
fn common(handle: &Handle, dir: &Path) -> Common {
    let drawn = of(handle);
    let beside = dir.file_name().filter(|_| drawn.disk.is_beside()).map(|name| name.display().to_string());
    let archive = beside.unwrap_or_else(|| format!("machine {}", drawn.machine));
    Common { book: Box::new(drawn.book.clone()), archive, yields: false }
}

/// The models that may be put to use, as the log names them: the rules that a run begins with, and networks that learned nothing,
/// each of its own mind.
pub(super) const MODELS: [&str; 3] = ["untrained", "drawn-1:0", "drawn-2:0"];

fn models(stage: &Stage) -> Models {
    let traits = traits(stage);
    Box::new(move |model| Ok(ranker(&traits, model)))
}

fn ranker(traits: &[PlaybookTraits], model: &str) -> Ranker {
    static DRAWN: LazyLock<[Model; 2]> = LazyLock::new(|| [1, 2].map(|seed| Model::drawn(seed, history())));
    let drawn =
        DRAWN.iter().find(|drawn| model.split_once(':').is_some_and(|(name, _)| name == drawn.version));
    drawn.map_or_else(|| Ranker::untrained(traits), |drawn| Ranker::of(drawn.clone(), traits))
}

/// Analysts have judged every rule of the records: what a model does not know it is not asked.
fn history() -> History {
    let names = Names::default();
    let keys = RULES.flat_map(|rule| {
        [format!("R{rule}"), format!("Rule {rule}")]
            .map(|rule| history_keys(&[(names.intern(&rule), 1)], names.intern("default"), &names))
    });
    History::new(keys.flatten().map(|key| (key, [9, 5, 7])).collect(), [90, 50, 70])
}

fn traits(stage: &Stage) -> Vec<PlaybookTraits> {
    let traits = stage.plan.playbooks.iter().map(|playbook| {
        PlaybookTraits::of(&playbook.verbs(), &playbook.target_kinds(), &playbook.labels, playbook.impact)
    });
    traits.collect()
}

/// Ticks that a receipt may take.
const RECEIPT_S: Tick = 120;

fn executor(handle: &Handle, stage: &Stage) -> Executor {
    let world = Box::new(Door(Arc::clone(handle)));
    if stage.dry {
        Executor::DryRun
    } else if stage.topic {
        Executor::Orders(Orders::simulated(world, RECEIPT_S))
    } else {
        Executor::Webhook(Webhook::simulated(world))
    }
}

fn listener(handle: &Handle, names: &Arc<Names>) -> Crier {
    Crier::new(Box::new(Listener(Arc::clone(handle))), Arc::clone(names), Box::new(|_| {}))
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
    let (mut drawn, there) = (of(handle), stage.sources.borrow());
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
    for file in &there.files {
        let (tell, stream) = file.follow(&mut drawn.dice);
        let streams = vec![(Stream::Bytes(stream), 0)];
        sources.push(Source { settings: settings(&file.name, now), wall: false, severe: false, streams });
        tells.push(tell);
    }
    if there.pushed > 0 {
        let streams = vec![(Stream::Pushed, 0)];
        sources.push(Source { settings: settings(PUSHED, now), wall: stage.wall, severe: false, streams });
    }
    let live = Live::new(sources, &stage.plan.mappings(), names, stage.plan.lateness_s, Limits::default());
    (live, tells)
}
