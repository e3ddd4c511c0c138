//! The nouns: what travels through the dataflow and lies in the archive. Plain data: no IO, no operators, no clock.

pub mod time;
pub mod names;
pub mod wire;
pub mod pen;
pub mod id;
pub mod decimal;
pub mod entity;
pub mod net;
pub mod attack;
pub mod place;
pub mod alert;
pub mod observed;
pub mod reject;
pub mod finding;
pub mod incident;
pub mod context;
pub mod features;
pub mod judgement;
pub mod decision;
pub mod action;
pub mod outcome;
pub mod input;

pub use action::{Action, ActionClass, ActionStatus, Target, Verb};
pub use alert::{Alert, Duplicate, Order, Severity};
pub use attack::Tactics;
pub use context::{ContextFacts, ContextRow, ContextTable, Exposure, Known, Sighting};
pub use decimal::Decimal;
pub use decision::{Candidate, Decision, Held, Lost, Reason, Ruling};
pub use entity::{Entity, EntityKind, Observable, Role};
pub use features::Features;
pub use finding::{Finding, Link, Member};
pub use id::{ActionId, AlertId, DecisionId, IncidentId};
pub use incident::{Incident, IncidentKind, IncidentState, Unusual};
pub use input::{
    Approval, EpochRow, InputKind, InputRow, Unlink, Unrelated, Verdict, Withdrawal, Withdrawals,
};
pub use judgement::{Judgement, Score, Triage};
pub use names::{Names, Sym};
pub use net::Net;
pub use observed::Observed;
pub use outcome::{LabelSource, Outcome};
pub use reject::{Reject, Stage};
pub use time::{Diff, Epoch, Millis, NOTHING_SETTLED, Tick, tick_of};
