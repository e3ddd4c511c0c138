//! Play: one seed from its first process to its last, and whether all held.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::check;
use super::disk::Disk;
use super::drawn::{Crashed, Drawn, Handle, Strikes, Tally, may_crash, of};
use super::life::{Life, Stopped};
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
    let stage = Stage::new(plan, &mut drawn.dice, began);
    drawn.world.topic = stage.topic;
    let handle: Handle = Arc::new(Mutex::new(drawn));
    let mut play = Play { handle: Arc::clone(&handle), stage, lives: 0, zombies: Vec::new() };
    fate::set(Some(Rc::new(Strikes(Arc::clone(&handle)))));
    let played = play.all();
    fate::set(None);
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

struct Play {
    handle: Handle,
    stage: Stage,
    lives: u32,
    /// Processes that were thought dead, and go on.
    zombies: Vec<Life>,
}

/// How a process came to its end without an error.
enum End {
    Ended(Summary),
    ThoughtDead,
}

impl Play {
    /// Process after process, until two have ended in peace: the second finds what the first left in doubt.
    fn all(&mut self) -> Result<Summary, Stopped> {
        let mut peaceful = 0;
        loop {
            self.lives += 1;
            of(&self.handle).quiet = self.lives > self.stage.lives;
            let struck = self.struck();
            let mut life = None;
            let lived = catch_unwind(AssertUnwindSafe(|| self.one(&mut life)));
            match lived {
                Ok(Ok(End::ThoughtDead)) => {
                    self.left_for_dead(life);
                    continue;
                }
                Ok(Ok(End::Ended(summary))) => {
                    peaceful += u32::from(self.lives > self.stage.lives);
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
            drop(life);
            self.zombies.clear();
            self.between()?;
        }
    }

    /// Strikes so far: a process stops of itself only when it was struck.
    fn struck(&self) -> u64 {
        let drawn = of(&self.handle);
        drawn.tally.kinds.iter().filter(|(kind, _)| kind.contains("failed")).map(|(_, count)| count).sum()
    }

    /// The machine after a process.
    fn between(&mut self) -> Result<(), Stopped> {
        let mut drawn = of(&self.handle);
        let drawn = &mut *drawn;
        let power = !drawn.quiet && drawn.dice.chance(400_000);
        if power {
            drawn.count("losses of power");
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

    /// One process.
    fn one(&mut self, life: &mut Option<Life>) -> Result<End, Stopped> {
        let dir = of(&self.handle).disk.dir();
        of(&self.handle).count("processes");
        *life = Some(Life::begin(&self.handle, &self.stage, &dir)?);
        let Some(lives) = life else { return Err("nobody lives".to_owned()) };
        lives.again()?;
        lives.go_on()?;
        let mut more = of(&self.handle).dice.between(5, 120);
        while !self.stage.sources.are_given() || more > 0 {
            more = more.saturating_sub(1);
            may_crash(&self.handle, 1);
            let dead = {
                let mut drawn = of(&self.handle);
                !drawn.quiet && self.zombies.is_empty() && drawn.dice.chance(THOUGHT_DEAD)
            };
            if dead {
                return Ok(End::ThoughtDead);
            }
            self.act(lives)?;
            if let Some(wrong) = of(&self.handle).wrong.clone() {
                return Err(wrong);
            }
            if lives.divergences() > 0 {
                return Err(format!("{} divergences", lives.divergences()));
            }
        }
        let Some(life) = life.take() else { return Err("nobody lives".to_owned()) };
        life.end().map(End::Ended)
    }

    /// A process is thought dead, and another one begins; what it does from now on must change nothing.
    fn left_for_dead(&mut self, life: Option<Life>) {
        self.zombies.extend(life);
        let mut drawn = of(&self.handle);
        let drawn = &mut *drawn;
        drawn.count("processes thought dead");
        drawn.world.zombies = true;
        if drawn.plant == Plant::SplitBrain {
            drawn.disk.copy();
            drawn.disk.move_on(false, &mut drawn.dice);
        }
    }

    /// A process that was thought dead goes on; once it is told, it ends.
    fn rise(&mut self) {
        let Some(zombie) = self.zombies.last_mut() else { return };
        let steps = of(&self.handle).dice.between(1, 60);
        let turned = if steps.is_multiple_of(3) { zombie.turn() } else { Ok(()) };
        let gone_on = turned.and_then(|()| {
            for _ in 0..steps {
                if !zombie.step()? {
                    break;
                }
            }
            if steps.is_multiple_of(7) { zombie.flush() } else { Ok(()) }
        });
        if let Err(why) = gone_on {
            let mut drawn = of(&self.handle);
            drawn.count("processes thought dead that were told");
            drawn.note(why);
            drop(drawn);
            self.zombies.clear();
        }
    }

    /// Something happens.
    fn act(&mut self, life: &mut Life) -> Result<(), Stopped> {
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
            Plant::Nothing | Plant::WorldDoesTwice | Plant::OtherKeys | Plant::SplitBrain => {}
        }
    }

    /// A file grows, or a batch is pushed.
    fn deliver(&mut self, life: &mut Life) {
        let mut drawn = of(&self.handle);
        let files = self.stage.sources.files.len();
        let at = drawn.dice.index(files + 1);
        if at < files {
            let bytes = self.stage.sources.files[at].grow(&mut drawn.dice);
            drop(drawn);
            life.grown(at, bytes);
            return;
        }
        let Some(at) = self.stage.sources.next_batch(&mut drawn.dice) else { return };
        if !drawn.quiet && drawn.dice.chance(100_000) {
            drawn.count("batches lost on their way");
            return;
        }
        let (plant, batch) = (drawn.plant, self.stage.sources.batches[at].clone());
        drop(drawn);
        let answer = life.push(&batch.text, &batch.key);
        let mut drawn = of(&self.handle);
        if answer == Ok(false) {
            drawn.count("batches delivered again");
        }
        let lost = !drawn.quiet && drawn.dice.chance(150_000);
        if answer.is_err() || lost {
            drawn.count("acknowledgements lost");
            self.stage.sources.sent_in_vain(at, plant);
        } else {
            self.stage.sources.batches[at].acknowledged = true;
        }
    }
}
