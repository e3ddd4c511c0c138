//! Client: the library's client of a topic, what it hears of the brokers, and what that means in words.
//!
//! State: the last thing that went wrong, and whether it still does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;

use super::{Reader, tls};
use crate::plan::kafka::Cluster;
use crate::plan::topic::Topic;

/// How often a question is asked that must have an answer, and how long is rested between.
const TRIES: u32 = 5;
const REST: Duration = Duration::from_millis(250);
const HEARD_MAX: u32 = 8;
/// Of these, how many must say that there is no such topic: one that was just made is not known to every broker.
const UNKNOWN_TRIES: u32 = 4;
/// Brokers that answer, and have not agreed yet on who leads, as after a restart, are waited for some 15 s.
const UNSETTLED_TRIES: u32 = 60;

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The settings.
    #[error("topic {topic}: {what}")]
    Settings {
        /// The topic.
        topic: String,
        /// What is wrong with them, and what to do.
        what: String,
    },
    /// The brokers, in words.
    #[error("topic {topic}: {what}")]
    Brokers {
        /// The topic.
        topic: String,
        /// What they say, and what to do.
        what: String,
    },
    /// The library.
    #[error("topic {topic} cannot be read: {what}")]
    Failed {
        /// The topic.
        topic: String,
        /// What it says.
        what: String,
    },
}

/// What is heard of the brokers.
pub(super) struct Hearing {
    cluster: Cluster,
    topic: String,
    /// Whether the brokers do not answer, so that silence says nothing of the topic.
    pub(super) away: AtomicBool,
    last: Mutex<Last>,
    /// The offset behind the newest record of each partition, as the library last heard.
    newest: Mutex<BTreeMap<i32, u64>>,
}

/// What is read of the library's statistics.
#[derive(Deserialize)]
struct Statistics {
    topics: BTreeMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct TopicStatistics {
    partitions: BTreeMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i32,
    /// Behind the newest committed record; below 0 where it is not known.
    ls_offset: i64,
}

#[derive(Default)]
struct Last {
    wrong: Option<(RDKafkaErrorCode, String)>,
    /// What was said to people and is not over.
    told: Option<RDKafkaErrorCode>,
    news: Option<String>,
}

impl ClientContext for Hearing {
    /// What the library notes for its makers is not said: what matters comes as an error too.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::PartitionEOF)
        {
            let mut last = self.last();
            if last.wrong.as_ref().is_none_or(|(known, _)| Trouble::of(*known) <= Trouble::of(code)) {
                last.wrong = Some((code, plain(reason).to_owned()));
            }
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(mut said) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let Some(topic) = said.topics.remove(&self.topic) else { return };
        let known = topic.partitions.into_values();
        let known = known.filter_map(|it| Some((it.partition, u64::try_from(it.ls_offset).ok()?)));
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).extend(known);
    }
}

impl ConsumerContext for Hearing {}

impl Hearing {
    /// The offset behind the newest record of a partition, where the library has heard.
    pub(super) fn newest(&self, partition: u32) -> Option<u64> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(&i32::try_from(partition).ok()?).copied()
    }
}

impl Hearing {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is wrong: said once, until it is over.
    pub(super) fn wrong(&self, error: &KafkaError) {
        self.away.store(true, Ordering::SeqCst);
        let mut last = self.last();
        let (code, what) = self.words(&last, error);
        if last.told.is_none_or(|told| told != code && Trouble::of(code).is_definite()) {
            last.told = Some(code);
            last.news = Some(format!("{what}; it is waited for, and nothing is lost"));
        }
    }

    /// The brokers have answered.
    pub(super) fn right(&self) {
        self.away.store(false, Ordering::SeqCst);
        let mut last = self.last();
        last.wrong = None;
        if last.told.take().is_some() {
            last.news = Some("the brokers answer again; it is read on".to_owned());
        }
    }

    /// What people should hear.
    pub(super) fn news(&self) -> Option<String> {
        self.last().news.take()
    }

    /// Whether something went wrong since the brokers last answered.
    pub(super) fn is_troubled(&self) -> bool {
        self.last().wrong.is_some()
    }

    /// What an error means, and what to do.
    fn words(&self, last: &Last, error: &KafkaError) -> (RDKafkaErrorCode, String) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        // What was heard of the connection tells more than that a question was not answered.
        let heard = last.wrong.as_ref().filter(|_| !Trouble::of(code).is_definite());
        let code = heard.map_or(code, |(code, _)| *code);
        let reason = heard.map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
        let (brokers, topic, security) = (&self.cluster.brokers, &self.topic, &self.cluster.security);
        let what = match Trouble::of(code) {
            Trouble::Refused => {
                let (user, env) = (security.user.as_deref(), security.password_env.as_deref());
                format!(
                    "{brokers} does not let {:?} in ({reason}); check `user`, `mechanism` and the password in {}",
                    user.unwrap_or_default(),
                    env.unwrap_or("`password_env`")
                )
            }
            Trouble::Tls => format!(
                "TLS with {brokers} fails ({reason}); check `ca`, and until when the certificates are valid that the \
                 brokers and we show"
            ),
            Trouble::Unknown => format!("{brokers} has no topic {topic}; make it, or correct `topic`"),
            Trouble::Forbidden => {
                format!("{brokers} does not let us read {topic}; grant READ and DESCRIBE on it")
            }
            Trouble::Unsettled => format!(
                "{brokers} answers, and nobody leads all partitions of topic {topic} ({reason}); wait until one does, or see what \
                 the brokers say of them"
            ),
            Trouble::Away | Trouble::AllAway => format!(
                "{brokers} does not answer ({reason}); check that `brokers` are right and up, and that `protocol` is \
                 what they speak there"
            ),
        };
        (code, what)
    }
}

/// A reason without its circumstances, and without cures in the library's own words.
fn plain(reason: &str) -> &str {
    let end = [" (after ", ", verify that "].iter().filter_map(|more| reason.find(more)).min();
    &reason[..end.unwrap_or(reason.len())]
}

/// What kind of thing is wrong, in the order of how much it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// That all brokers are down follows from whatever it was.
    AllAway,
    /// Brokers that answer, and do not lead yet.
    Unsettled,
    Away,
    Refused,
    Tls,
    Unknown,
    Forbidden,
}

impl Trouble {
    fn of(code: RDKafkaErrorCode) -> Trouble {
        use RDKafkaErrorCode as Code;
        let known = [
            (Code::AllBrokersDown, Trouble::AllAway),
            (Code::LeaderNotAvailable, Trouble::Unsettled),
            (Code::NotLeaderForPartition, Trouble::Unsettled),
            (Code::Authentication, Trouble::Refused),
            (Code::SaslAuthenticationFailed, Trouble::Refused),
            (Code::SSL, Trouble::Tls),
            (Code::UnknownTopic, Trouble::Unknown),
            (Code::UnknownTopicOrPartition, Trouble::Unknown),
            (Code::UnknownPartition, Trouble::Unknown),
            (Code::TopicAuthorizationFailed, Trouble::Forbidden),
        ];
        known.into_iter().find(|(known, _)| *known == code).map_or(Trouble::Away, |(_, trouble)| trouble)
    }

    /// Whether waiting alone does not cure it.
    fn is_definite(self) -> bool {
        self > Trouble::Away
    }
}

/// Bytes of one answer, of all partitions that a broker leads; a longer record comes by itself.
const FETCH_BYTES: usize = 16 << 20;

/// A client that fetches no more than `ahead` bytes of a partition before they are taken.
pub(super) fn client(topic: &Topic, folder: &Path, ahead: usize) -> Result<Reader, TopicError> {
    let cluster = topic.cluster();
    let settings = |what| TopicError::Settings { topic: topic.topic.clone(), what };
    let mut config = ClientConfig::new();
    for (name, value) in cluster.settings(folder).map_err(|what| settings(format!("{what}; set it")))? {
        config.set(name, value);
    }
    let kib = (ahead >> 10).max(1);
    config
        // Partitions are assigned, never subscribed to: the group is a name for offsets that are only shown.
        .set("group.id", topic.group.as_deref().unwrap_or("quell"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", kib.to_string())
        .set("queued.min.messages", "20000")
        .set("fetch.message.max.bytes", ahead.min(1 << 20).to_string())
        .set("fetch.max.bytes", FETCH_BYTES.to_string())
        // A full queue is looked at again soon, and brokers that come back are found soon.
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.wait.max.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        // Of these, how far behind we are is told.
        .set("statistics.interval.ms", "1000")
        .set("allow.auto.create.topics", "false");
    let hearing = Hearing {
        cluster,
        topic: topic.topic.clone(),
        away: AtomicBool::new(false),
        last: Mutex::default(),
        newest: Mutex::default(),
    };
    config.create_with_context(hearing).map_err(|error| {
        // The library's words of a setting name its value, which may be a secret.
        if let KafkaError::ClientConfig(_, _, name, _) = &error {
            return settings(format!("the library refuses {name}"));
        }
        settings(format!("no client can be made: {error}; check the files that `security` names"))
    })
}

/// Asks until there is an answer, or it is plain that there will be none.
pub(super) fn patiently<T>(
    topic: &Topic,
    folder: &Path,
    reader: &Reader,
    ask: impl Fn(&Reader) -> Result<T, KafkaError>,
) -> Result<T, TopicError> {
    let hearing = reader.context();
    let mut tried = 0;
    loop {
        let error = match ask(reader) {
            Ok(answer) => {
                hearing.right();
                hearing.news();
                return Ok(answer);
            }
            Err(error) => error,
        };
        tried += 1;
        // What is said meanwhile may be said for ever.
        for _ in 0..HEARD_MAX {
            if reader.poll(REST).is_none() {
                break;
            }
        }
        let (code, what) = hearing.words(&hearing.last(), &error);
        let tries = match Trouble::of(code) {
            Trouble::Unknown => UNKNOWN_TRIES,
            Trouble::Refused | Trouble::Tls | Trouble::Forbidden => 1,
            Trouble::Away | Trouble::AllAway => TRIES,
            Trouble::Unsettled => UNSETTLED_TRIES,
        };
        if tried >= tries {
            let refusal =
                (Trouble::of(code) == Trouble::Tls).then(|| tls::refusal(&topic.cluster(), folder)).flatten();
            let what = refusal.map_or(what.clone(), |more| format!("{more}: {what}"));
            return Err(TopicError::Brokers { topic: topic.topic.clone(), what });
        }
    }
}
