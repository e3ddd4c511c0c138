//! People: they hear of decisions, and answer them, speak of incidents, take them apart, and throw the kill switch.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::drawn::{Drawn, Handle, of};
use crate::engine::log::{Log, LogError};
use crate::engine::run::kill_switch;

/// What was heard of.
#[derive(Default)]
pub(super) struct Ear {
    /// Decisions that a person is asked about, with whose they are.
    asked: Vec<(Value, Value)>,
    incidents: Vec<(Value, Value)>,
}

/// A door to it, for who says decisions.
pub(super) struct Listener(pub(super) Handle);

impl io::Write for Listener {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let ear = &mut of(&self.0).ear;
        for line in serde_json::Deserializer::from_slice(text).into_iter::<Value>().filter_map(Result::ok) {
            let of_whom = |id: &str| (line[id].clone(), line["tenant"].clone());
            if line["ruling"] == "escalate" {
                ear.asked.push(of_whom("decision_id"));
            }
            ear.incidents.push(of_whom("incident_id"));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Somebody says something, into the log of the archive at `dir`, as another process does.
pub(super) fn say(drawn: &mut Drawn, dir: &Path) -> Result<(), LogError> {
    let (throw, now) = (drawn.dice.below(10), drawn.now);
    let log = Log::open(dir)?;
    let by = drawn.dice.pick(&["ada", "grace"]);
    let heard = if throw < 6 { &drawn.ear.asked } else { &drawn.ear.incidents };
    if throw == 9 {
        let file = kill_switch(dir);
        drawn.count("throws of the kill switch");
        let thrown = if file.exists() { std::fs::remove_file(file) } else { std::fs::write(file, "") };
        thrown.expect("room for a file");
        return Ok(());
    }
    if heard.is_empty() {
        return Ok(());
    }
    let at = drawn.dice.index(heard.len());
    let heard = if throw < 6 { &drawn.ear.asked } else { &drawn.ear.incidents };
    let (id, tenant) = heard[at].clone();
    let (kind, body) = match throw {
        0..6 => {
            let approved = drawn.dice.chance(800_000);
            (
                "approval",
                json!({"decision_id": id, "approved": approved, "by": by, "time": now, "tenant": tenant}),
            )
        }
        6 | 7 => {
            let verdict = drawn.dice.pick(&["true_positive", "false_positive"]);
            (
                "verdict",
                json!({"incident_id": id, "verdict": verdict, "by": by, "time": now, "tenant": tenant}),
            )
        }
        _ => {
            let unlink = json!({"entity": format!("host:h{}", drawn.dice.below(5))});
            ("verdict", json!({"incident_id": id, "unlink": unlink, "by": by, "time": now, "tenant": tenant}))
        }
    };
    log.append(kind, &body.to_string(), None)?;
    drawn.count("words of people");
    Ok(())
}
