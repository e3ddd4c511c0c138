//! `pipeline.yml`: the sources, the tables of context, the model, the executor, and the parameters of the operators.
//!
//! Paths are relative to the file's own folder. What is absent has a default; `quell schema pipeline` lists all.

mod read;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::link::LinkSettings;
use super::outside::{KafkaExecutor, Ledger, Sinks, Words};
use super::topic::Topic;
use crate::record::{ContextTable, Tick};

pub use read::read;

/// `pipeline.yml`: sources, context, model, executor, and the parameters of the operators.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The plan's name.
    pub name: String,
    /// The tenant of sources that name none.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// What `quell run` reads.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// How late a record may be before its tick is clamped, as `60s`, `5m`.
    #[serde(default = "minute")]
    pub lateness: String,
    /// An event this much later than now is a reject, as `24h`.
    #[serde(default = "day")]
    pub future_max: String,
    /// The zone of times that name none.
    #[serde(default = "utc")]
    pub zone: String,
    /// An alert of the same rule and entities this shortly after another repeats it.
    #[serde(default = "five_minutes")]
    pub dedup_window: String,
    /// What evidence joins alerts.
    #[serde(default)]
    pub link: LinkSettings,
    /// What is known beside the alerts.
    #[serde(default)]
    pub context: Context,
    /// How incidents' indicators are looked up in archives of earlier days.
    #[serde(default)]
    pub sightings: SightingSettings,
    /// Where models lie, with `promoted.toml` naming the one in use; without it incidents are triaged by severity and
    /// nothing runs by itself.
    #[serde(default)]
    pub models: Option<PathBuf>,
    /// How far the journey goes.
    #[serde(default)]
    pub ends_at: EndsAt,
    /// The policy's file under `policies/`.
    #[serde(default = "default_policy")]
    pub policy: PathBuf,
    /// Folders of Sigma rules by which alerts are found in raw events; where this is absent, `rules` if it is there.
    #[serde(default)]
    pub rules: Option<Vec<PathBuf>>,
    /// What carries out actions.
    #[serde(default)]
    pub executor: ExecutorSpec,
    /// Where the ledger of actions lies, beside the archive's folder.
    #[serde(default)]
    pub ledger: Ledger,
    /// Where `quell run` says what it found and did, beside the archive.
    #[serde(default)]
    pub sinks: Sinks,
    /// Where people say theirs to `quell run`, beside the shell.
    #[serde(default)]
    pub words: Words,
}

/// How far the journey goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndsAt {
    /// Incidents are linked, triaged, ranked and answered.
    #[default]
    Actions,
    /// The correlation rules' findings alone are written: alerts are counted, not kept, and nothing is linked or done.
    Findings,
}

/// Where records come from. What it does not know it hands to its kind, which denies what it does not know either.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Source {
    /// Its name: part of the identity of alerts that their vendor does not name.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: SourceKind,
    /// Whose; the plan's tenant where absent.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Whether a record's own field may say whose it is.
    #[serde(default)]
    pub tenant_from_field: bool,
    /// How its clock moves while it is silent; where absent `wall` for a topic and for pushed batches, else `event`.
    #[serde(default)]
    pub clock: Option<Clock>,
}

/// The kinds of source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SourceKind {
    /// A file that grows.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Standard input.
    Stdin,
    /// Batches posted to `http://LISTEN/push/NAME`.
    Http {
        /// Address and port; port 0 takes a free one.
        listen: String,
    },
    /// A topic of Kafka.
    Kafka(Box<Topic>),
}

impl Source {
    /// How its clock moves while it is silent: where it does not say, with the others' where nobody tells its end. A topic and
    /// a door for batches have none: what came last would never settle.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.unwrap_or(match self.kind {
            SourceKind::File { .. } | SourceKind::Stdin => Clock::Event,
            SourceKind::Http { .. } | SourceKind::Kafka(_) => Clock::Wall,
        })
    }
}

/// How a source's clock moves while it is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// It does not: its records alone move it.
    Event,
    /// With the others', and with elapsed time when all are silent.
    Wall,
}

/// Tables of context: CSV or JSON lines; indicators also as STIX 2.1 bundles.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Context {
    /// Hosts and addresses.
    pub assets: Vec<PathBuf>,
    /// Accounts.
    pub identities: Vec<PathBuf>,
    /// Threat intelligence.
    pub indicators: Vec<PathBuf>,
    /// Entities that never link alerts: shared accounts, scanners, gateways. One that is added while a run goes on takes
    /// every open incident apart where only it held it together; one that is taken off links from then on.
    pub never_link: Vec<PathBuf>,
    /// Networks.
    pub zones: Vec<PathBuf>,
    /// What scanners found.
    pub vulnerabilities: Vec<PathBuf>,
}

impl Context {
    /// The files of a table.
    #[must_use]
    pub fn of(&self, table: ContextTable) -> &[PathBuf] {
        match table {
            ContextTable::Assets => &self.assets,
            ContextTable::Identities => &self.identities,
            ContextTable::Indicators => &self.indicators,
            ContextTable::Zones => &self.zones,
            ContextTable::Vulnerabilities => &self.vulnerabilities,
            ContextTable::NeverLink => &self.never_link,
        }
    }

    /// All files, each with its table.
    pub fn files(&self) -> impl Iterator<Item = (ContextTable, &PathBuf)> {
        ContextTable::ALL.into_iter().flat_map(|table| self.of(table).iter().map(move |file| (table, file)))
    }
}

/// How `quell run` looks incidents' indicators up in archives of earlier days. What it finds is an input of the log.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SightingSettings {
    /// How many days before an incident's first; 0 looks nothing up.
    #[schemars(range(max = 366))]
    pub days: u16,
    /// Archives beside the run's own.
    pub archives: Vec<PathBuf>,
}

impl Default for SightingSettings {
    fn default() -> Self {
        SightingSettings { days: 30, archives: Vec::new() }
    }
}

/// What carries out actions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExecutorSpec {
    /// Nothing is done; the archive tells what would have been.
    #[default]
    DryRun,
    /// A simulated environment answers.
    Simulate {
        /// Its description.
        environment: PathBuf,
        /// What each attack alert belongs to.
        #[serde(default)]
        truth: Option<PathBuf>,
    },
    /// Each action is posted as JSON, with its id as `Idempotency-Key`.
    Webhook {
        /// Where to.
        url: String,
        /// The environment variable that holds the bearer token. A value that names its scheme itself, as `Basic dXNlcjpwdw==`, is
        /// sent as it is.
        #[serde(default)]
        token_env: Option<String>,
    },
    /// Each action is a message of a topic, with its id in its headers; receipts come in by another.
    Kafka(KafkaExecutor),
}

fn default_tenant() -> String {
    "default".to_owned()
}
fn minute() -> String {
    "60s".to_owned()
}
fn day() -> String {
    "24h".to_owned()
}
fn utc() -> String {
    "UTC".to_owned()
}
fn five_minutes() -> String {
    "5m".to_owned()
}
fn default_policy() -> PathBuf {
    "policies/default.yml".into()
}

/// Seconds of a time span as files write it.
#[must_use]
pub fn seconds(text: &str) -> Option<Tick> {
    super::correlation::timespan(text).map(|ms| ms / 1000)
}
