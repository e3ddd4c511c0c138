//! A Kafka topic as a source: each of its partitions is read from where the log says, and has a clock of its own.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Fault;
use super::kafka::{Cluster, Security};
use super::pipeline::seconds;
use super::place::Place;

/// A topic whose records are alerts or events, one each.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Some of the cluster's brokers, as `kafka-1:9092,kafka-2:9092`: the others are learnt from them.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How to be let in.
    #[serde(default)]
    pub security: Security,
    /// The consumer group under which it is told how far the topic was taken, for dashboards of lag: nothing is read from it.
    #[serde(default)]
    pub group: Option<String>,
    /// Where a run that begins anew begins.
    #[serde(default)]
    pub start: Start,
    /// What happens when records were removed before they were read.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Whether it is read first while there is more than can be taken.
    #[serde(default)]
    pub severe: bool,
    /// The time of a record that has none of its own.
    #[serde(default)]
    pub time: TimeOf,
    /// How often it is looked whether the topic has more partitions, as `5s`.
    #[serde(default = "five_seconds")]
    pub look: String,
}

/// Where a run that begins anew begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With the first records that are there.
    #[default]
    Earliest,
    /// With those that come from then on.
    Latest,
}

/// What happens when records were removed before they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnLost {
    /// The run fails, and says what is missing.
    #[default]
    Fail,
    /// One reject tells the offsets of what is missing, and the run goes on after it.
    Skip,
}

/// The time of a record that has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimeOf {
    /// That which the topic has of it.
    #[default]
    Broker,
    /// There is none: it is a reject.
    Record,
}

fn five_seconds() -> String {
    "5s".to_owned()
}

/// Topic names are no longer, as Kafka has it.
const NAME_MAX: usize = 249;

impl Topic {
    /// The cluster that it is in.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.brokers.clone(), security: self.security.clone() }
    }

    /// What is wrong with it, where `place` of the plan file, of that `name`, says it; its files are looked for from `folder`.
    #[must_use]
    pub fn faults(&self, place: &Place<'_>, folder: &Path, name: &str) -> Vec<Fault> {
        let mut faults = self.cluster().faults(place, folder, name);
        let mut fault = |key: &str, what: String, cure: &str| {
            faults.push(place.within(key).fault(format!("{name}: {what}"), cure));
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = |name: &str| {
            !name.is_empty()
                && name.len() <= NAME_MAX
                && name.chars().all(legal)
                && ![".", ".."].contains(&name)
        };
        if !is_name(&self.topic) {
            let cure = "write one topic's name: letters, digits, `.`, `_` and `-`, 249 at most";
            fault("topic", format!("`topic` is {:?}", self.topic), cure);
        }
        if self.group.as_deref().is_some_and(|group| group.trim().is_empty()) {
            fault("group", "`group` is empty".to_owned(), "name a consumer group, or leave it out");
        }
        if !seconds(&self.look).is_some_and(|s| (1..=3_600).contains(&s)) {
            fault("look", format!("`look` is {:?}", self.look), "write 1s to 1h");
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::place::Lines;

    #[test]
    fn what_cannot_be_a_topic_is_a_fault() {
        for (text, faults) in [
            ("{brokers: 'a:1', topic: alerts}", 0),
            (
                "{brokers: 'a:1', topic: alerts, group: soc, start: latest, on_lost: skip, severe: true, look: 1m}",
                0,
            ),
            ("{brokers: 'a:1', topic: 'alerts,more'}", 1),
            ("{brokers: '', topic: '..', group: ' ', look: 0s}", 4),
        ] {
            let topic: Topic = crate::plan::yaml::parse(Path::new("pipeline.yml"), text, "").unwrap();
            let lines = Lines::of(text);
            let place = Place::top(Path::new("pipeline.yml"), &lines);
            let found = topic.faults(&place, Path::new("no-such"), "source \"a\"");
            assert_eq!(found.len(), faults, "{text}: {found:?}");
        }
    }
}
