//! Messages: an epoch's rows as they go to topics, in an order that is the same however often they are computed.
//!
//! A message's place is its epoch and its number among the epoch's messages of its topic: by these it is told apart.
//! Rulings and actions come in the desk's order, which is that of event time; what workers say side by side is sorted.

use serde_json::{Map, Value};

use super::ends::{EPOCH, ID, RUN, SEQ, TRACE};
use crate::archive::Rows;
use crate::kafka::{Letter, TRACEPARENT, traceparent};
use crate::plan::outside::Stream;
use crate::record::{Epoch, Names};

/// One row on its way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    /// Which of the topics, by number.
    pub(super) topic: usize,
    pub(super) epoch: Epoch,
    /// Its number among the epoch's messages of the topic, from 0.
    pub(super) seq: u64,
    /// Messages of one key stay in order.
    pub(super) key: String,
    /// What it is, in the words of its table: the same row is the same id.
    pub(super) id: String,
    /// What it is about: an incident, and an action of it.
    pub(super) trace: String,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// How it goes out, where the run has that name.
    pub(super) fn letter(self, run: &str) -> Letter {
        let (epoch, seq) = (self.epoch.to_string(), self.seq.to_string());
        let parent = traceparent(&self.trace, &self.id);
        let headers = vec![
            (ID, self.id),
            (EPOCH, epoch),
            (SEQ, seq),
            (TRACE, self.trace),
            (RUN, run.to_owned()),
            (TRACEPARENT, parent),
        ];
        Letter { topic: self.topic, key: self.key, headers, body: self.body }
    }
}

/// Whether rows go to a topic of that kind.
pub(super) fn is_of(stream: Stream, rows: &Rows) -> bool {
    match stream {
        Stream::Decisions => matches!(rows, Rows::Decisions(_)),
        Stream::Actions => matches!(rows, Rows::Actions(_)),
        Stream::Incidents => matches!(rows, Rows::Incidents(_)),
        Stream::Rejects => matches!(rows, Rows::Rejects(_)),
        Stream::Findings => matches!(rows, Rows::Matches(_)),
    }
}

/// The messages of an epoch, topic by topic.
pub(super) fn messages(epoch: Epoch, rows: &[Rows], topics: &[Stream], names: &Names) -> Vec<Message> {
    let mut all = Vec::new();
    for (topic, stream) in topics.iter().enumerate() {
        let own = rows.iter().filter(|rows| is_of(*stream, rows));
        let mut told: Vec<Told> =
            own.flat_map(|rows| rows.json(epoch, names)).map(|row| Told::of(*stream, &row)).collect();
        match stream {
            Stream::Decisions | Stream::Actions => {}
            Stream::Incidents | Stream::Rejects | Stream::Findings => {
                told.sort_by(|a, b| (&a.key, a.at, &a.body).cmp(&(&b.key, b.at, &b.body)));
            }
        }
        let message = |(seq, Told { key, id, trace, body, .. }): (u64, Told)| Message {
            topic,
            epoch,
            seq,
            key,
            id,
            trace,
            body: body.into_bytes(),
        };
        all.extend((0..).zip(told).map(message));
    }
    all
}

struct Told {
    key: String,
    id: String,
    trace: String,
    /// Its place among those of its key.
    at: i64,
    body: String,
}

impl Told {
    fn of(stream: Stream, row: &Map<String, Value>) -> Told {
        let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| row.get(name).and_then(Value::as_i64).unwrap_or_default();
        let (key, id, trace, at) = match stream {
            Stream::Decisions => {
                let by = text("superseded_by");
                let id = text("decision_id");
                let id = if by.is_empty() { id.to_owned() } else { format!("{id}/{by}") };
                (text("incident_id").to_owned(), id, text("incident_id").to_owned(), 0)
            }
            Stream::Actions => {
                let trace = format!("{}/{}", text("incident_id"), text("action_id"));
                (text("target").to_owned(), format!("{}/{}", text("action_id"), number("seq")), trace, 0)
            }
            Stream::Incidents => {
                let (incident, version) = (text("incident_id"), number("version"));
                (incident.to_owned(), format!("{incident}/{version}"), incident.to_owned(), version)
            }
            Stream::Rejects => {
                let (source, position) = (text("source"), number("position"));
                let id = format!("{source}/{}/{position}", number("partition"));
                (source.to_owned(), id, String::new(), position)
            }
            Stream::Findings => {
                let key = [text("tenant"), text("correlation"), text("group")].join("/");
                let alerts = row.get("alert_ids").map(Value::to_string).unwrap_or_default();
                let hash = blake3::hash(format!("{key}/{alerts}").as_bytes()).to_hex();
                (key, format!("{}/{:+}", &hash[..32], number("diff")), String::new(), number("tick"))
            }
        };
        // What was read from a map of text and numbers can be written again.
        Told { key, id, trace, at, body: serde_json::to_string(row).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reject, Stage, Sym, place};

    #[test]
    fn rows_that_come_in_any_order_have_one_place() {
        let names = Names::default();
        let reject = |source: &str, position: u64| Reject {
            stage: Stage::Normalize,
            reason: "no".into(),
            tick: 7,
            tenant: Sym::EMPTY,
            source: names.intern(source),
            position,
            raw: String::new(),
        };
        let rows = [
            Rows::Rejects(vec![reject("b", 1), reject("a", 12)]),
            Rows::Decisions(Vec::new()),
            // Two partitions of one topic have the same offsets.
            Rows::Rejects(vec![reject("a", 3), reject("b", place::position(4, 1))]),
        ];
        let topics = [Stream::Actions, Stream::Rejects];
        let told = messages(5, &rows, &topics, &names);
        let places: Vec<_> = told.iter().map(|it| (it.topic, it.epoch, it.seq, &*it.key, &*it.id)).collect();
        assert_eq!(
            places,
            [
                (1, 5, 0, "a", "a/0/3"),
                (1, 5, 1, "a", "a/0/12"),
                (1, 5, 2, "b", "b/0/1"),
                (1, 5, 3, "b", "b/4/1"),
            ]
        );
        let mut other = rows.to_vec();
        other.reverse();
        assert_eq!(messages(5, &other, &topics, &names), told);
        let body: Value = serde_json::from_slice(&told[1].body).unwrap();
        assert_eq!(
            (&body["position"], &body["reason"], &body["epoch"]),
            (&12.into(), &"no".into(), &5.into())
        );
    }
}
