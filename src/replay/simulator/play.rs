//! Play: one seed from its first process to its last, and whether all held.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::check;
use super::disk::Disk;
use super::drawn::{Crashed, Drawn, Gone, Handle, Strikes, Tally, may_crash, of, set_meanwhile};
use super::life::{Life, MODELS, Stopped};
use super::people;
use super::stage::Stage;
use crate::engine::summary::Summary;
use crate::flow::fate;
use crate::plan::catalog::Plan;

/// A fault that is planted, so that it is seen whether the simulator finds it. None is in the product: a machine that lies, a
/// world or a sender that does not keep to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// None.
    Nothing,
    /// The disk loses what the ledger was told is durable.
    LedgerLost,
    /// The disk loses what the log was told is durable.
    LogLost,
    /// The world does a keyed action twice where it is told twice.
    WorldDoesTwice,
    /// A sender that hears nothing sends again under another key.
    OtherKeys,
    /// A process that was thought dead has a disk of its own, so that nothing tells it.
    SplitBrain,
    /// What a ledger lies in for several machines forgets what it was told.
    BookLost,
}

/// A seed that failed.
#[derive(Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
    /// The last steps before, a line each.
    pub trace: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.trace)?;
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

/// Plays a seed over a plan, on a disk in `folder`, which is best in memory; what befell, or what did not hold.
///
/// # Panics
/// Panics where that folder cannot be written.
pub fn simulate(plan: &Plan, seed: u64, plant: Plant, folder: &Path) -> Result<Tally, Box<Failed>> {
    let disk = Disk::new(&folder.join(seed.to_string())).expect("room for a simulated disk");
    let mut drawn = Drawn::new(seed, disk, plant);
    let began = drawn.now;
    let stage = Stage::new(plan, (&mut drawn.dice, &mut drawn.machines), began);
    drawn.world.topic = stage.topic;
    let handle: Handle = Arc::new(Mutex::new(drawn));
    let play = Rc::new(Play {
        handle: Arc::clone(&handle),
        stage,
        zombie: RefCell::default(),
        risen: RefCell::default(),
    });
    fate::set(Some(Rc::new(Strikes(Arc::clone(&handle)))));
    let played = play.all();
    fate::set(None);
    set_meanwhile(None);
    let played = played.and_then(|summary| check::all(&handle, &play.stage, &summary));
    let drawn = of(&handle);
    match played.and_then(|()| drawn.wrong.clone().map_or(Ok(()), Err)) {
        Ok(()) => Ok(drawn.tally.clone()),
        Err(what) => {
            if let Some(folder) = std::env::var_os("QUELL_SIMULATE_KEEP") {
                drawn.disk.keep(&Path::new(&folder).join(seed.to_string())).expect("room to keep a disk");
            }
            Err(Box::new(Failed { seed, what, trace: drawn.trace() }))
        }
    }
}

/// How often, in a million, a process is thought dead that is not.
const THOUGHT_DEAD: u64 = 3_000;
/// How often one is left as it stands.
const LEAVES: u64 = 2_000;
/// Processes beyond those that may be struck: so many it takes to keep out what ends them.
const PATIENCE: u32 = 80;

struct Play {
    handle: Handle,
    stage: Stage,
    /// A process that was thought dead, and goes on.
    zombie: RefCell<Option<Life>>,
    /// One that began while another stood still, which is thought dead since.
    risen: RefCell<Option<Life>>,
}

/// How a process came to its end without an error.
enum End {
    Ended(Summary),
    ThoughtDead,
}

impl Play {
    /// Process after process, until two have ended in peace: the second finds what the first left in doubt.
    fn all(self: &Rc<Play>) -> Result<Summary, Stopped> {
        let (mut peaceful, mut lives) = (0, 0);
        loop {
            lives += 1;
            if lives > self.stage.lives + PATIENCE {
                return Err("it gets no further".to_owned());
            }
            let quiet = lives > self.stage.lives;
            (of(&self.handle).quiet, of(&self.handle).rising) = (quiet, false);
            let play = Rc::clone(self);
            set_meanwhile(Some(Rc::new(move || play.meanwhile())));
            let struck = self.struck();
            let mut life = None;
            let lived = catch_unwind(AssertUnwindSafe(|| {
                let lived = self.one(&mut life);
                lived.map_err(|why| if let Some(life) = &life { life.withdraw(why) } else { why })
            }));
            match lived {
                Ok(Ok(End::ThoughtDead)) => {
                    self.left_for_dead(life);
                    continue;
                }
                Ok(Ok(End::Ended(summary))) => {
                    peaceful += u32::from(quiet);
                    of(&self.handle).note("ended");
                    if summary.divergences > 0 {
                        return Err(format!("{} divergences", summary.divergences));
                    }
                    if peaceful == 2 {
                        return Ok(summary);
                    }
                }
                Ok(Err(why)) if self.struck() == struck => return Err(format!("it stopped: {why}")),
                Ok(Err(why)) => of(&self.handle).note(format!("stopped: {why}")),
                Err(end) if end.is::<Crashed>() => {}
                Err(end) => {
                    let said = end.downcast_ref::<String>().cloned();
                    let said = said.or_else(|| end.downcast_ref::<&str>().map(|it| (*it).to_owned()));
                    return Err(format!("it panicked: {}", said.unwrap_or_default()));
                }
            }
            of(&self.handle).disk.copy();
            drop((life, self.zombie.take(), self.risen.take()));
            self.between()?;
        }
    }

    /// Strikes so far: a process stops of itself only when it was struck.
    fn struck(&self) -> u64 {
        let drawn = of(&self.handle);
        drawn.tally.kinds.iter().filter(|(kind, _)| kind.contains("failed")).map(|(_, count)| count).sum()
    }

    /// The machine after a process.
    fn between(&self) -> Result<(), Stopped> {
        let mut drawn = of(&self.handle);
        let drawn = &mut *drawn;
        let power = !drawn.quiet && drawn.dice.chance(400_000);
        if power {
            drawn.count("losses of power");
        }
        if !drawn.quiet && self.stage.may_lose_all() && drawn.machines.chance(500_000) {
            drawn.count("machines lost with all that lay on them");
            drawn.disk.lose_all();
            drawn.machine += 1;
            if drawn.plant == Plant::BookLost {
                drawn.book.all().clear();
            }
        }
        drawn.disk.go_on(power, &mut drawn.dice);
        let jump = drawn.dice.pick(&[0, 0, 1_000, 60_000, 3_600_000, -5_000, -3_600_000]);
        if jump != 0 {
            drawn.now += jump;
            drawn.count("jumps of the clock");
        }
        let dir = drawn.disk.dir();
        check::published(&dir)
    }

    /// One process, in place of which another may end that began while it stood still.
    fn one(&self, life: &mut Option<Life>) -> Result<End, Stopped> {
        let begun = self.begin(life);
        self.unless_overtaken(life, begun)?;
        let mut more = of(&self.handle).dice.between(5, 120);
        loop {
            while !self.stage.sources.borrow().are_given() || more > 0 {
                more = more.saturating_sub(1);
                may_crash(&self.handle, 1);
                let (dead, leaves) = {
                    let mut drawn = of(&self.handle);
                    let alone = !drawn.quiet && self.zombie.borrow().is_none();
                    // Where nothing tells it, it is to show soon.
                    let often =
                        if drawn.plant == Plant::SplitBrain { 10 * THOUGHT_DEAD } else { THOUGHT_DEAD };
                    (alone && drawn.dice.chance(often), !drawn.quiet && drawn.dice.chance(LEAVES))
                };
                if dead {
                    return Ok(End::ThoughtDead);
                }
                if leaves {
                    of(&self.handle).count("runs left as they stand");
                    let left = life.as_mut().map_or(Ok(()), Life::leave);
                    if let Some(end) = self.ends(life, left)? {
                        return Ok(end);
                    }
                }
                let acted = life.as_mut().map_or(Ok(()), |life| self.act(life));
                self.unless_overtaken(life, acted)?;
                self.holds(life.as_ref())?;
            }
            let ended = life.as_mut().map_or(Ok(()), Life::end);
            if let Some(end) = self.ends(life, ended)? {
                return Ok(end);
            }
        }
    }

    /// What was begun is done, and no more; none where another process goes on in place of this one.
    fn ends(&self, life: &mut Option<Life>, ended: Result<(), Stopped>) -> Result<Option<End>, Stopped> {
        if self.unless_overtaken(life, ended)? {
            return Ok(None);
        }
        let Some(ending) = life.take() else { return Err("nobody lives".to_owned()) };
        let finished = ending.finish();
        *life = self.risen.take();
        if life.is_none() {
            return finished.map(End::Ended).map(Some);
        }
        self.tells(finished.err());
        Ok(None)
    }

    /// A process begins, and comes to where it was.
    fn begin(&self, life: &mut Option<Life>) -> Result<(), Stopped> {
        let dir = of(&self.handle).disk.dir();
        of(&self.handle).count("processes");
        let life = life.insert(Life::begin(&self.handle, &self.stage, &dir)?);
        life.again()?;
        life.go_on()
    }

    /// Where another process began meanwhile, it goes on in place of this one, which was thought dead; whether it did.
    fn unless_overtaken(&self, life: &mut Option<Life>, done: Result<(), Stopped>) -> Result<bool, Stopped> {
        let Some(risen) = self.risen.take() else { return done.map(|()| false) };
        let before = life.replace(risen);
        match done {
            Ok(()) => *self.zombie.borrow_mut() = before,
            Err(why) => self.tells(Some(before.map_or(why.clone(), |before| before.withdraw(why)))),
        }
        Ok(true)
    }

    /// What must hold at any time.
    fn holds(&self, life: Option<&Life>) -> Result<(), Stopped> {
        if let Some(wrong) = of(&self.handle).wrong.clone() {
            return Err(wrong);
        }
        match life.map_or(0, Life::divergences) {
            0 => Ok(()),
            some => Err(format!("{some} divergences")),
        }
    }

    /// A process stands still, and is thought dead: another one begins, and goes on for a while.
    fn meanwhile(&self) {
        let (time, mut acts) = {
            let mut drawn = of(&self.handle);
            drawn.abrupt += 1;
            (drawn.dice.pick(&[0, 1_000, 30_000, 3_600_000]), drawn.dice.between(0, 60))
        };
        if self.zombie.borrow().is_some() || self.risen.borrow().is_some() {
            return;
        }
        of(&self.handle).now += time;
        let struck = self.struck();
        let mut life = None;
        let mut done = self.begin(&mut life);
        while let (Ok(()), Some(life), 1..) = (&done, &mut life, acts) {
            acts -= 1;
            may_crash(&self.handle, 1);
            done = self.act(life);
        }
        match done {
            Ok(()) => *self.risen.borrow_mut() = life,
            Err(why) if self.struck() == struck => {
                of(&self.handle).accuse(format!("it stopped while another one stood still: {why}"));
            }
            Err(why) => {
                let why = life.map_or(why.clone(), |life| life.withdraw(why));
                of(&self.handle).note(format!("stopped: {why}"));
            }
        }
    }

    /// A process is thought dead, and another one begins; what it does from now on must change nothing.
    fn left_for_dead(&self, life: Option<Life>) {
        *self.zombie.borrow_mut() = life;
        let mut drawn = of(&self.handle);
        let drawn = &mut *drawn;
        drawn.abrupt += 1;
        drawn.count("processes thought dead");
        let apart = self.stage.shared && drawn.machines.chance(300_000);
        if apart {
            drawn.count("processes thought dead with a disk of their own");
        }
        if apart || drawn.plant == Plant::SplitBrain {
            drawn.disk.copy();
            drawn.disk.move_on(false, &mut drawn.dice);
        }
    }

    /// A process that was thought dead goes on; once it is told, it ends.
    fn rise(&self) {
        let Some(mut zombie) = self.zombie.take() else { return };
        let steps = of(&self.handle).dice.between(1, 60);
        of(&self.handle).rising = true;
        let gone_on = catch_unwind(AssertUnwindSafe(|| {
            if steps.is_multiple_of(3) {
                zombie.turn()?;
            }
            for _ in 0..steps {
                if !zombie.step()? {
                    break;
                }
            }
            if steps.is_multiple_of(7) { zombie.flush() } else { Ok(()) }
        }));
        of(&self.handle).rising = false;
        match gone_on {
            Ok(Ok(())) => *self.zombie.borrow_mut() = Some(zombie),
            Ok(Err(why)) => self.tells(Some(zombie.withdraw(why))),
            Err(end) if end.is::<Gone>() => {}
            Err(end) => resume_unwind(end),
        }
    }

    /// A process that was thought dead is told, or finds nothing to do any more.
    fn tells(&self, why: Option<Stopped>) {
        let mut drawn = of(&self.handle);
        drawn.count("processes thought dead that were told");
        drawn.note(why.unwrap_or_default());
    }

    /// Something happens.
    fn act(&self, life: &mut Life) -> Result<(), Stopped> {
        let throw = {
            let mut drawn = of(&self.handle);
            drawn.now += drawn.dice.span(0, 300);
            drawn.dice.below(100)
        };
        match throw {
            0..25 => {
                self.deliver(life);
                Ok(())
            }
            25..55 => life.turn(),
            55..86 => {
                let steps = of(&self.handle).dice.between(1, 60);
                for _ in 0..steps {
                    if !life.step()? {
                        break;
                    }
                }
                Ok(())
            }
            86..90 if self.stage.people => {
                people::say(&mut of(&self.handle), life.dir()).map_err(|error| error.to_string())
            }
            92 if self.stage.topic => {
                people::report(&mut of(&self.handle), life.dir()).map_err(|error| error.to_string())
            }
            95 if self.stage.promotes => {
                let model = of(&self.handle).machines.pick(&MODELS);
                of(&self.handle).count("models put to use");
                life.promote(model)
            }
            90..92 => life.flush(),
            92 | 93 => {
                let mut drawn = of(&self.handle);
                drawn.now += drawn.dice.span(1_000, 600_000);
                drawn.count("jumps of the clock");
                Ok(())
            }
            94 => {
                self.plant();
                Ok(())
            }
            _ => {
                self.rise();
                Ok(())
            }
        }
    }

    /// A disk that lies forgets from here on.
    fn plant(&self) {
        let mut drawn = of(&self.handle);
        match drawn.plant {
            Plant::LedgerLost => drawn.disk.remember("actions.sqlite"),
            Plant::LogLost => drawn.disk.remember("log.db"),
            Plant::Nothing
            | Plant::WorldDoesTwice
            | Plant::OtherKeys
            | Plant::SplitBrain
            | Plant::BookLost => {}
        }
    }

    /// A file grows, or a batch is pushed.
    fn deliver(&self, life: &mut Life) {
        let grown = {
            let (mut drawn, mut sources) = (of(&self.handle), self.stage.sources.borrow_mut());
            let at = drawn.dice.index(sources.files.len() + 1);
            sources.files.get_mut(at).map(|file| (at, file.grow(&mut drawn.dice)))
        };
        if let Some((at, bytes)) = grown {
            life.grown(at, bytes);
            return;
        }
        let (at, batch) = {
            let (mut drawn, sources) = (of(&self.handle), self.stage.sources.borrow());
            let Some(at) = sources.next_batch(&mut drawn.dice) else { return };
            if !drawn.quiet && drawn.dice.chance(100_000) {
                drawn.count("batches lost on their way");
                return;
            }
            (at, sources.batches[at].clone())
        };
        let answer = life.push(&batch.text, &batch.key);
        let (mut drawn, mut sources) = (of(&self.handle), self.stage.sources.borrow_mut());
        if answer == Ok(false) {
            drawn.count("batches delivered again");
        }
        let lost = !drawn.quiet && drawn.dice.chance(150_000);
        if answer.is_err() || lost {
            drawn.count("acknowledgements lost");
            sources.sent_in_vain(at, drawn.plant);
        } else {
            sources.batches[at].acknowledged = true;
        }
    }
}
