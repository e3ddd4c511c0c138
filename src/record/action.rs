//! Action: one step's command to the world, and how it goes on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Entity;
use super::id::{ActionId, DecisionId, IncidentId};
use super::names::{Names, Sym};
use super::time::{Millis, Tick};

/// What is done, in the words of OpenC2's actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Isolate a host, quarantine a file or mail.
    Contain,
    /// Block an address, domain, hash.
    Deny,
    /// Lift what `deny` or `contain` did.
    Allow,
    /// Remove a mail, file, key.
    Delete,
    /// Change a setting: disable an account, close a bucket.
    Set,
    /// Revoke sessions, restart a service.
    Restart,
    /// Look closer: a scan, a collection of evidence.
    Investigate,
    /// Tell people.
    Notify,
    /// Keep a copy: a snapshot, a memory image.
    Copy,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 9] = [
        Verb::Contain,
        Verb::Deny,
        Verb::Allow,
        Verb::Delete,
        Verb::Set,
        Verb::Restart,
        Verb::Investigate,
        Verb::Notify,
        Verb::Copy,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verb::Contain => "contain",
            Verb::Deny => "deny",
            Verb::Allow => "allow",
            Verb::Delete => "delete",
            Verb::Set => "set",
            Verb::Restart => "restart",
            Verb::Investigate => "investigate",
            Verb::Notify => "notify",
            Verb::Copy => "copy",
        }
    }

    /// The verb of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Verb> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// What may be done with an action in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionClass {
    /// A set: may be repeated.
    Idempotent,
    /// May be repeated with the action id as the vendor's idempotency key.
    Keyed,
    /// Read back, then decide.
    Probeable,
    /// Never repeated: a person decides.
    Opaque,
}

impl ActionClass {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ActionClass::Idempotent => "idempotent",
            ActionClass::Keyed => "keyed",
            ActionClass::Probeable => "probeable",
            ActionClass::Opaque => "opaque",
        }
    }
}

/// How an action goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// Decided; the intent is durable.
    Requested,
    /// Done.
    Succeeded,
    /// The executor said no, for good.
    Failed,
    /// Another action's effect stands already: nothing was called.
    Joined,
    /// Told, not done: the executor is a dry run.
    DryRun,
    /// The intent is durable, the outcome unknown.
    InDoubt,
    /// Lifted at the end of its time to live, or by hand.
    Undone,
}

impl ActionStatus {
    /// The archive's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ActionStatus::Requested => "requested",
            ActionStatus::Succeeded => "succeeded",
            ActionStatus::Failed => "failed",
            ActionStatus::Joined => "joined",
            ActionStatus::DryRun => "dry_run",
            ActionStatus::InDoubt => "in_doubt",
            ActionStatus::Undone => "undone",
        }
    }
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Target {
    /// An entity of the incident.
    Entity(Entity),
    /// The incident as a whole (to notify, to investigate).
    Incident(IncidentId),
}

impl Target {
    /// `host:mail`, `incident:5f...`: the form of the archive.
    #[must_use]
    pub fn text(self, names: &Names) -> String {
        match self {
            Target::Entity(entity) => entity.text(names),
            Target::Incident(id) => format!("incident:{id}"),
        }
    }
}

/// One row of an action's life.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its identity.
    pub id: ActionId,
    /// Counts from 0 within the action.
    pub seq: u32,
    /// The ruling behind it.
    pub decision_id: DecisionId,
    /// The incident.
    pub incident_id: IncidentId,
    /// The tick at which this row holds.
    pub tick: Tick,
    /// Whose.
    pub tenant: Sym,
    /// What is done.
    pub verb: Verb,
    /// To what, as text (`host:mail`, `incident:...`).
    pub target: String,
    /// What may be done with it in doubt.
    pub class: ActionClass,
    /// How it stands.
    pub status: ActionStatus,
    /// Calls made so far.
    pub attempts: u32,
    /// When it was decided, in event time.
    pub requested_time: Millis,
    /// When it ended, in event time.
    pub finished_time: Option<Millis>,
    /// The action that it undoes, because that stands on withdrawn ground.
    pub undo_of: Option<ActionId>,
    /// Why it undoes that; of one that failed or is in doubt, what the executor said.
    pub reason: Option<String>,
}
