//! Playbooks: CACAO 2.0 JSON, read strictly, with Quell's parameters in a documented CACAO extension.
//!
//! Supported: steps `start`, `end`, `action` (one command of type `openc2-http` or `manual`), `parallel`;
//! `on_completion`, `on_success`, `on_failure`, `workflow_exception`, `delay`, `timeout`; the variables of
//! [`super::openc2`]. Whatever else CACAO has that would change what is done is a load error, never skipped;
//! descriptive properties (labels, markings, references) are taken and not read.
//!
//! The extension [`EXTENSION`] holds, in `playbook_extensions`, an [`Applicability`] and, in each action's
//! `step_extensions`, its [`Parameters`].

mod command;
mod graph;
mod read;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;
use super::text;
use crate::record::{ActionClass, EntityKind, Millis, Severity, Verb};

pub use read::read;

/// The id of Quell's CACAO extension.
pub const EXTENSION: &str = "extension-definition--5d7c1f3e-9b7a-4c0d-8a55-71c6e1d0b9a2";
/// The version of it that this code reads.
pub const EXTENSION_VERSION: &str = "1.0.0";
/// Bytes that a playbook file may have.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Steps that a playbook may have.
pub const STEPS_MAX: usize = 256;
/// Targets of one step where neither the step nor the policy says less.
pub const TARGETS_MAX: u32 = 32;

/// One playbook, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Playbook {
    /// CACAO id.
    pub id: String,
    /// Its name, unique among the plan's.
    pub name: String,
    /// Its CACAO labels; its use case is in `applies`.
    pub labels: Vec<String>,
    /// Where it was read.
    pub file: PathBuf,
    /// BLAKE3 of its canonical JSON: part of every action's identity.
    pub hash: [u8; 32],
    /// 0 (harmless) to 100 (as bad as an attack).
    pub impact: u8,
    /// Event time from which it may be used.
    pub valid_from: Option<Millis>,
    /// Event time from which it may not be used any more.
    pub valid_until: Option<Millis>,
    /// When it applies.
    pub applies: Applicability,
    /// Its workflow, sorted by step id.
    pub steps: Vec<Step>,
    /// The start step's place in `steps`.
    pub start: usize,
    /// The step that takes over where a failure has no step of its own.
    pub exception: Option<usize>,
}

impl Playbook {
    /// Its verbs, each once, in the order of [`Verb::ALL`].
    #[must_use]
    pub fn verbs(&self) -> Vec<Verb> {
        let uses = |verb: &Verb| self.actions().any(|(_, action)| action.parameters.verb == *verb);
        Verb::ALL.into_iter().filter(uses).collect()
    }

    /// The kinds of entity that it acts on, each once, in the order of [`EntityKind::ALL`].
    #[must_use]
    pub fn target_kinds(&self) -> Vec<EntityKind> {
        let acts = |kind: &EntityKind| {
            self.actions().any(|(_, action)| action.parameters.target == TargetKind::Entity(*kind))
        };
        EntityKind::ALL.into_iter().filter(acts).collect()
    }

    /// Its actions with their places, in the order of `steps`.
    pub fn actions(&self) -> impl Iterator<Item = (usize, &Action)> {
        self.steps.iter().enumerate().filter_map(|(at, step)| match &step.kind {
            StepKind::Action(action) => Some((at, &**action)),
            StepKind::Start | StepKind::End | StepKind::Parallel(_) => None,
        })
    }
}

/// When a playbook applies: the playbook's part of the extension.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Applicability {
    /// The use case, as the archive and the simulated environment name it.
    pub use_case: String,
    /// Tactics (`TA0008` or `lateral-movement`), any of which suffices.
    #[serde(default)]
    pub tactics: Vec<String>,
    /// Techniques (`T1021` covers `T1021.002`), any of which suffices. With neither tactics nor techniques it
    /// applies to every incident.
    #[serde(default)]
    pub techniques: Vec<String>,
    /// Kinds of entity that the incident must have, all of them.
    #[serde(default)]
    pub entities: Vec<EntityKind>,
    /// The lowest severity that it is for.
    #[serde(default)]
    pub severity_min: Severity,
}

/// What an action does and may do: the step's part of the extension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// The verb; equal to that of the OpenC2 action where there is one.
    pub verb: Verb,
    /// What it is done to.
    pub target: TargetKind,
    /// What may be done with it in doubt.
    pub class: ActionClass,
    /// Whose things it may act on.
    #[serde(default)]
    pub scope: Scope,
    /// Targets at most; the policy may say less.
    #[serde(default)]
    pub targets_max: Option<u32>,
    /// Seconds after which it is undone by itself.
    #[serde(default)]
    pub ttl_s: Option<u32>,
    /// The verb that undoes it.
    #[serde(default)]
    pub undo: Option<Verb>,
    /// Whether it can be undone.
    #[serde(default)]
    pub reversible: bool,
    /// 0 (harmless) to 100.
    pub impact: u8,
}

/// Whose things a step may act on, by the policy's list of what is our own. Alerts name both sides: without this a
/// step that blocks a phishing mail's sender would block its receiver too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Anybody's.
    #[default]
    Any,
    /// Others': nothing that the policy knows for our own.
    External,
    /// Ours: nothing that the policy knows for somebody else's.
    Own,
}

/// What a step acts on: each entity of a kind, or the incident as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum TargetKind {
    /// The incident.
    Incident,
    /// Its entities of this kind.
    Entity(EntityKind),
}

impl TryFrom<String> for TargetKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "incident" {
            return Ok(TargetKind::Incident);
        }
        EntityKind::parse(&text)
            .map(TargetKind::Entity)
            .ok_or_else(|| format!("unknown target {text:?}: neither `incident` nor a kind of entity"))
    }
}

impl From<TargetKind> for String {
    fn from(kind: TargetKind) -> String {
        match kind {
            TargetKind::Incident => "incident".to_owned(),
            TargetKind::Entity(kind) => kind.name().to_owned(),
        }
    }
}

/// A step of the workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// CACAO id.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Milliseconds to wait before it.
    pub delay_ms: u64,
    /// Milliseconds after which it has failed.
    pub timeout_ms: Option<u64>,
    /// What it is.
    pub kind: StepKind,
    /// Where it goes on.
    pub next: Next,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq)]
pub enum StepKind {
    /// The way in.
    Start,
    /// The end of the workflow or of a branch.
    End,
    /// A command.
    Action(Box<Action>),
    /// Branches; the step goes on when all have ended.
    Parallel(Vec<usize>),
}

/// Where a step goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Nowhere: it is an end.
    Nowhere,
    /// To this step, however it went.
    Always(usize),
    /// By how it went; without `failure` the workflow's exception takes over.
    ByResult {
        /// Where it succeeded.
        success: usize,
        /// Where it failed.
        failure: Option<usize>,
    },
}

/// A step's command.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// From the extension.
    pub parameters: Parameters,
    /// The agent that carries it out, by name.
    pub agent: String,
    /// The OpenC2 command, or `{"manual": text}`, its variables not yet filled in.
    pub command: Value,
}

/// Reads every `*.json` in `dir`; playbooks come sorted by id.
///
/// # Errors
/// All faults of all files.
pub fn load(dir: &Path) -> Result<Vec<Playbook>, Vec<Fault>> {
    let fault = |file: &Path, what: String, cure: &str| Fault {
        file: file.to_owned(),
        line: None,
        what,
        cure: cure.to_owned(),
    };
    let entries = std::fs::read_dir(dir)
        .map_err(|error| vec![fault(dir, format!("cannot be read: {error}"), "give a folder that exists")])?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort_unstable();
    let (mut playbooks, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        match std::fs::metadata(&file).and_then(|meta| {
            if meta.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other(format!("{} bytes, {FILE_BYTES_MAX} at most", meta.len())));
            }
            text::read(&file)
        }) {
            Ok(text) => match read(&file, &text) {
                Ok(playbook) => playbooks.push(playbook),
                Err(found) => faults.extend(found),
            },
            Err(error) => {
                faults.push(fault(&file, format!("cannot be read: {error}"), "mend or remove the file"));
            }
        }
    }
    playbooks.sort_by(|a: &Playbook, b| a.id.cmp(&b.id).then_with(|| a.file.cmp(&b.file)));
    for (at, playbook) in playbooks.iter().enumerate() {
        if let Some(other) =
            playbooks[..at].iter().find(|other| other.id == playbook.id || other.name == playbook.name)
        {
            let what = format!("has the id or the name of {}", other.file.display());
            faults.push(fault(&playbook.file, what, "give it its own"));
        }
    }
    if faults.is_empty() { Ok(playbooks) } else { Err(faults) }
}

#[cfg(test)]
mod tests;
