//! Ways to make one run: by one process, by a cluster with a supervisor, between topics; and whom a fault can strike there.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::common::edges;
use super::common::kafka::Broker;
use super::common::live::{Live, processes};
use super::common::told::{id, in_order, lying, rows};
use super::fault::{Dice, Fault};

/// What is told in topics.
const TOPICS: [&str; 4] = ["decisions", "actions", "incidents", "rejects"];
/// How long a broker is away.
const AWAY: Duration = Duration::from_millis(500);

/// See the head of this file.
pub enum Way {
    /// One process over a file, which keeps what it remembers so often, in milliseconds.
    Alone(&'static str),
    /// Two processes over a file, which are started again by a third.
    Supervised,
    /// One process from a topic into topics, of a broker; and how often it was begun.
    Topics(Box<RefCell<Broker>>, Cell<u32>),
}

impl Way {
    /// Between the topics of a broker of its own.
    pub fn topics(folder: &Path) -> Way {
        Way::Topics(Box::new(RefCell::new(Broker::start(folder))), Cell::new(0))
    }

    /// Its plan, of one that reads `edges.jsonl`; topics are new each time, and hold the records.
    pub fn plan(&self, of_file: &str, records: u64) -> String {
        let Way::Topics(broker, times) = self else { return of_file.to_owned() };
        times.set(times.get() + 1);
        let (broker, number) = (broker.borrow(), times.get());
        let alerts = format!("alerts-{number}");
        broker.topic(&alerts, 1);
        broker.produce(&alerts, Some(0), edges(records).lines());
        plan_of_topics(&broker, of_file, number)
    }

    /// How the command is told.
    pub fn tell(&self, command: &mut Command) {
        match self {
            Way::Alone(snapshot_every_ms) => command.args(["--snapshot-every-ms", snapshot_every_ms]),
            Way::Supervised => command.args(["--supervise", "2", "--snapshot-every-ms", "50"]),
            Way::Topics(..) => command.args(["--snapshot-every-ms", "0"]),
        };
    }

    /// Whether calls of the process can be met: a supervisor's children would all meet the same one.
    pub fn has_calls(&self) -> bool {
        !matches!(self, Way::Supervised)
    }

    /// A fault that it can meet.
    pub fn fault(&self, dice: &mut Dice, calls: &[(&'static str, u64)], usual_ms: u64) -> Fault {
        let ms = |dice: &mut Dice| dice.below(usual_ms) + 1;
        match self {
            Way::Supervised => Fault::Role(dice.of(&["process 0", "process 1", "supervisor"]), ms(dice)),
            Way::Topics(..) if dice.below(3) == 0 => Fault::Role("broker", ms(dice)),
            Way::Alone(_) | Way::Topics(..) => Fault::any(dice, calls, usual_ms),
        }
    }

    /// Kills whoever plays a role; whether that is the command itself.
    pub fn strike(&self, role: &str, live: &Live) -> bool {
        let kill = |id: &str| {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-KILL", id]).stderr(std::process::Stdio::null()).status();
        };
        match (self, role) {
            (Way::Topics(broker, _), "broker") => {
                let mut broker = broker.borrow_mut();
                broker.kill();
                std::thread::sleep(AWAY);
                broker.restart();
                false
            }
            (Way::Supervised, "process 0" | "process 1") => {
                let all = processes(live, 2);
                if let Some(id) = all.get(usize::from(role == "process 1")) {
                    kill(id);
                }
                false
            }
            _ => true,
        }
    }

    /// Whether a table says the same each time: rulings name their plan, which between topics is of new ones each time.
    pub fn says_again(&self, table: &str) -> bool {
        !(matches!(self, Way::Topics(..)) && table == "decisions")
    }

    /// What is wrong with what the topics have: the archive's rows, each once, of each key in order.
    pub fn compared(&self, archive: &Path) -> Result<(), String> {
        let Way::Topics(broker, times) = self else { return Ok(()) };
        compared(&broker.borrow(), times.get(), archive)
    }
}

/// The plan of a run that reads the topic `alerts-N` and tells topics of that number, which it makes.
pub fn plan_of_topics(broker: &Broker, of_file: &str, number: u32) -> String {
    let sinks = TOPICS.map(|topic| {
        broker.topic(&format!("{topic}-{number}"), 2);
        format!("{topic}: {topic}-{number}")
    });
    let address = broker.address();
    let file = "type: file, path: edges.jsonl";
    let topic =
        format!("type: kafka, brokers: '{address}', topic: alerts-{number}, start: earliest, clock: event");
    assert!(of_file.contains(file), "{of_file}");
    let sinks = format!("sinks: {{kafka: {{brokers: '{address}', {}}}}}\n", sinks.join(", "));
    broker.topic_with(&format!("ledger-{number}"), 1, &[("retention.ms", "-1")]);
    let ledger = format!("ledger: {{kafka: {{brokers: '{address}', topic: ledger-{number}}}}}\n");
    of_file.replace(file, &topic) + &sinks + &ledger
}

/// What is wrong with what the topics of that number have: the archive's rows, each once, of each key in order.
pub fn compared(broker: &Broker, number: u32, archive: &Path) -> Result<(), String> {
    let expected = rows(archive);
    for topic in TOPICS {
        let told = lying(broker, &format!("{topic}-{number}"));
        in_order(topic, &told);
        let mut ids: Vec<(String, u64)> = told.iter().map(|it| (id(topic, it), it.epoch())).collect();
        ids.sort();
        if ids != expected[topic] {
            let (is, was) = (ids.len(), expected[topic].len());
            return Err(format!("the topic {topic} has {is} messages, not the archive's {was} rows"));
        }
    }
    Ok(())
}
