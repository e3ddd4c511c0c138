//! The journal: what an epoch takes beside records, made durable before it can change a result, and read again after.
//!
//! In: clocks' moves, changes of context, sightings, verdicts, approvals: JSON of one shape each, live or from the log.
//! Out: their effects on a batch. State: epochs that are not in the log yet.

mod receipts;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use receipts::is_reported;
pub use receipts::{received, recorded};

use super::log::{Assigned, Entry, Heard, Log, LogError, LoggedEpoch, LoggedInput, Through};
use super::run::Batch;
use super::scribe::Scribe;
use crate::record::input::{Approval, Reported};
use crate::record::{
    ContextRow, Diff, Entity, Epoch, InputKind, InputRow, Known, Millis, Names, Reject, Stage, Sym, Unlink,
    Verdict, Withdrawal, Withdrawals,
};

/// Epochs that may wait to be logged with others.
const WAITING_MAX: usize = 1_024;

/// One input beside records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its place in the log, where it was there before.
    pub id: Option<i64>,
    /// What it is.
    pub kind: InputKind,
    /// JSON.
    pub body: String,
}

/// A move of a clock: of one source's, or of what "now" is for all.
#[derive(Serialize, Deserialize)]
struct Moved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Of a source of partitions, which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<u32>,
    time: Millis,
}

/// A move of a source's clock, or of the clocks of some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move<S> {
    /// The source.
    pub source: S,
    /// Which, where it has partitions; else none.
    pub partitions: Vec<u32>,
    /// To when.
    pub time: Millis,
}

/// Another model is put to use: what is judged after the epoch is judged by it. Or another plan is gone by since the epoch before.
#[derive(Default, Serialize, Deserialize)]
struct Promoted {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
}

/// A change of context tables; the first one is how they stood.
#[derive(Serialize, Deserialize)]
struct Changed {
    first: bool,
    rows: Vec<ChangedRow>,
}

#[derive(Serialize, Deserialize)]
struct ChangedRow {
    entity: String,
    #[serde(flatten)]
    known: Known<String>,
    protected: bool,
    tenant: String,
    diff: Diff,
}

impl Said {
    /// A source's clock is moved.
    #[must_use]
    pub fn moved(Move { source, partitions, time }: Move<String>) -> Said {
        Said::of(InputKind::Tick, &Moved { source: Some(source), partitions, time })
    }

    /// The ingest time, for all sources.
    #[must_use]
    pub fn as_of(time: Millis) -> Said {
        Said::of(InputKind::Tick, &Moved { source: None, partitions: Vec::new(), time })
    }

    /// Context tables changed; with `first`, this is how they stand. In the order of what they say.
    #[must_use]
    pub fn context(changes: &[((Entity, ContextRow), Diff)], first: bool, names: &Names) -> Said {
        let row = |((entity, row), diff): &((Entity, ContextRow), Diff)| ChangedRow {
            entity: entity.text(names),
            known: row.known.map(|name| names.get(name)),
            protected: row.protected,
            tenant: names.get(row.tenant),
            diff: *diff,
        };
        let mut rows: Vec<ChangedRow> = changes.iter().map(row).collect();
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        Said::of(InputKind::Context, &Changed { first, rows })
    }

    /// Archives were looked through.
    #[must_use]
    pub fn sightings(changes: &[((Entity, ContextRow), Diff)], names: &Names) -> Said {
        Said { kind: InputKind::Sighting, ..Said::context(changes, false, names) }
    }

    /// A model is put to use, named as decisions name it.
    #[must_use]
    pub fn promotion(model: &str) -> Said {
        Said::of(InputKind::Promotion, &Promoted { model: Some(model.to_owned()), plan: None })
    }

    /// It is gone by another plan since the epoch before.
    #[must_use]
    pub fn plan(hash: &str) -> Said {
        Said::of(InputKind::Promotion, &Promoted { model: None, plan: Some(hash.to_owned()) })
    }

    fn of(kind: InputKind, body: &impl Serialize) -> Said {
        Said { id: None, kind, body: serde_json::to_string(body).unwrap_or_default() }
    }

    /// Whether it takes an incident apart.
    #[must_use]
    pub fn is_unlink(&self) -> bool {
        is_unlink(self.kind, &self.body)
    }

    /// Whether it is on all that came before, so that its epoch takes no records.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        stands_alone(self.kind, &self.body)
    }

    /// As the log has it; none for what is no such input.
    #[must_use]
    pub fn logged(input: LoggedInput) -> Option<Said> {
        let kinds = [
            InputKind::Tick,
            InputKind::Context,
            InputKind::Sighting,
            InputKind::Verdict,
            InputKind::Approval,
            InputKind::Receipt,
            InputKind::Promotion,
            InputKind::Withdrawal,
        ];
        let kind = kinds.into_iter().find(|kind| kind.name() == input.kind)?;
        Some(Said { id: Some(input.id), kind, body: input.body })
    }
}

/// A word of a topic that says nothing that can be understood: it becomes a reject of the epoch that takes it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refused {
    pub(super) refused: RefusedWord,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RefusedWord {
    /// Topic and partition.
    pub(super) source: String,
    /// The offset.
    pub(super) position: u64,
    pub(super) reason: String,
    pub(super) raw: String,
    pub(super) tenant: String,
}

/// What inputs do to an epoch.
#[derive(Default)]
pub struct Effects {
    /// The ingest time from now on.
    pub as_of: Option<Millis>,
    /// Sources whose clocks move, before the epoch's records.
    pub moves: Vec<Move<Sym>>,
    context: Vec<((Entity, ContextRow), Diff)>,
    approvals: Vec<Approval>,
    verdicts: Vec<(Verdict, Sym)>,
    unlinks: Vec<Unlink>,
    withdrawals: Vec<(Withdrawal, Sym)>,
    refused: Vec<Reject>,
    reported: Vec<Reported>,
    promotes: Option<String>,
    rows: Vec<InputRow>,
    /// Inputs that say nothing that can be understood: they were not written by this program.
    pub strange: Vec<String>,
}

impl Effects {
    /// The effects of what was said, in order.
    #[must_use]
    pub fn of(said: &[Said], names: &Names) -> Effects {
        let mut effects = Effects::default();
        for said in said {
            if let Err(error) = effects.add(said, names) {
                effects.strange.push(format!("an input of kind {}: {error}", said.kind.name()));
            }
        }
        effects
    }

    fn add(&mut self, said: &Said, names: &Names) -> Result<(), serde_json::Error> {
        let mut tenant = Sym::EMPTY;
        if let Ok(Refused { refused }) = serde_json::from_str(&said.body) {
            self.refused.push(refused.reject(names));
            return Ok(());
        }
        match said.kind {
            InputKind::Tick => match serde_json::from_str(&said.body)? {
                Moved { source: Some(source), partitions, time } => {
                    self.moves.push(Move { source: names.intern(&source), partitions, time });
                }
                Moved { source: None, time, .. } => self.as_of = Some(time),
            },
            InputKind::Context | InputKind::Sighting => {
                let changed: Changed = serde_json::from_str(&said.body)?;
                self.context.extend(changed.rows.iter().filter_map(|row| row.read(names)));
            }
            InputKind::Verdict if said.is_unlink() => {
                let (unlink, whose) = worded(&said.body)?;
                tenant = names.intern(&whose);
                self.unlinks.push(unlink);
            }
            InputKind::Withdrawal => {
                let (Withdrawals { withdrawn }, whose) = worded(&said.body)?;
                tenant = names.intern(&whose);
                self.withdrawals.extend(withdrawn.into_iter().map(|finding| (finding, tenant)));
            }
            InputKind::Verdict => {
                let (verdict, whose) = worded(&said.body)?;
                tenant = names.intern(&whose);
                self.verdicts.push((verdict, tenant));
            }
            InputKind::Approval => {
                let (approval, whose) = worded(&said.body)?;
                tenant = names.intern(&whose);
                self.approvals.push(approval);
            }
            InputKind::Receipt => {
                let (reported, whose) = worded(&said.body)?;
                tenant = names.intern(&whose);
                self.reported.push(reported);
            }
            InputKind::Promotion => {
                let Promoted { model, .. } = serde_json::from_str(&said.body)?;
                self.promotes = model.or(self.promotes.take());
            }
            InputKind::Score | InputKind::Push => {}
        }
        self.rows.push(InputRow { epoch: 0, tick: 0, tenant, kind: said.kind, body: said.body.clone() });
        Ok(())
    }

    /// Whether something that was said cannot be understood.
    pub(super) fn is_refusal(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Puts them into a batch whose settled tick is known.
    pub fn fill(self, batch: &mut Batch) {
        batch.context = self.context;
        batch.approvals = self.approvals;
        batch.verdicts = self.verdicts;
        batch.unlinks = self.unlinks;
        batch.withdrawals = self.withdrawals;
        // Before anything is settled there is no date that the row would lie at.
        let tick = batch.settled.max(0);
        batch.inputs.extend(self.rows);
        batch.inputs.iter_mut().for_each(|row| row.tick = tick);
        batch.reported = self.reported;
        batch.promotes = self.promotes;
        batch.refused = self.refused;
        batch.refused.iter_mut().for_each(|reject| reject.tick = tick);
    }
}

impl RefusedWord {
    fn reject(self, names: &Names) -> Reject {
        Reject {
            stage: Stage::Normalize,
            reason: self.reason,
            tick: 0,
            tenant: names.intern(&self.tenant),
            source: names.intern(&self.source),
            position: self.position,
            raw: self.raw,
        }
    }
}

impl ChangedRow {
    fn order(&self) -> impl Ord {
        (&self.entity, &self.tenant, &self.known, self.protected, self.diff)
    }

    fn read(&self, names: &Names) -> Option<((Entity, ContextRow), Diff)> {
        let entity = Entity::parse(&self.entity, names)?;
        let known = self.known.clone().map(|name| names.intern(&name));
        let row = ContextRow { tenant: names.intern(&self.tenant), protected: self.protected, known };
        Some(((entity, row), self.diff))
    }
}

/// Whether an input takes an incident apart.
fn is_unlink(kind: InputKind, body: &str) -> bool {
    let says =
        |body| serde_json::from_str::<serde_json::Value>(body).is_ok_and(|it| it.get("unlink").is_some());
    kind == InputKind::Withdrawal || kind == InputKind::Verdict && says(body)
}

/// Whether an input is on all that came before it: it takes incidents apart (a word, or a changed list of entities that never
/// link), or puts another model to use.
pub(crate) fn stands_alone(kind: InputKind, body: &str) -> bool {
    let lists = |body| {
        let changed = serde_json::from_str::<Changed>(body);
        changed.is_ok_and(|it| it.rows.iter().any(|row| row.known == Known::NeverLink))
    };
    kind == InputKind::Promotion || is_unlink(kind, body) || (kind == InputKind::Context && lists(body))
}

/// A person's word as JSON, with whose matter it is on.
#[must_use]
pub fn word(word: &impl Serialize, tenant: &str) -> String {
    let mut body = serde_json::to_value(word).unwrap_or_default();
    if let serde_json::Value::Object(fields) = &mut body {
        fields.insert("tenant".to_owned(), tenant.into());
    }
    body.to_string()
}

/// A person's word of JSON, and whose matter it is on.
pub(super) fn worded<T: serde::de::DeserializeOwned>(body: &str) -> Result<(T, String), serde_json::Error> {
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(body)?;
    let tenant = fields.remove("tenant").and_then(|tenant| tenant.as_str().map(str::to_owned));
    Ok((serde_json::from_value(fields.into())?, tenant.unwrap_or_default()))
}

/// A pushed batch, without what was in it.
#[derive(Clone, Debug, Serialize)]
pub struct Pushed {
    /// To which source.
    pub source: String,
    /// Its `Idempotency-Key`.
    pub key: Option<String>,
    /// How many records.
    pub records: u64,
}

impl Pushed {
    /// Its row.
    #[must_use]
    pub fn row(&self) -> InputRow {
        let body = serde_json::to_string(self).unwrap_or_default();
        InputRow { epoch: 0, tick: 0, tenant: Sym::EMPTY, kind: InputKind::Push, body }
    }
}

/// The model that an input puts to use.
pub(super) fn promoted_by(kind: InputKind, body: &str) -> Option<String> {
    let promoted = (kind == InputKind::Promotion).then(|| serde_json::from_str::<Promoted>(body));
    promoted?.ok()?.model
}

/// Writes epochs to the log ahead of the archive, where they take more than records.
pub struct Journal {
    log: Log,
    scribe: Scribe,
    names: Arc<Names>,
    waiting: Vec<LoggedEpoch>,
}

impl Journal {
    /// A journal with nothing to write yet.
    #[must_use]
    pub fn new(log: Log, scribe: Scribe, names: Arc<Names>) -> Journal {
        Journal { log, scribe, names, waiting: Vec::new() }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Has it in the log, durably, where a partition of a topic is read from on; what was noted before comes before it.
    pub fn assign_partition(&mut self, place: &Assigned) -> Result<(), LogError> {
        self.sync()?;
        self.log.assign_partitions(std::slice::from_ref(place))
    }

    /// Has all epochs that were noted in the log, durably, when this returns: they may be acted on.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if !self.waiting.is_empty() {
            let epochs = std::mem::take(&mut self.waiting);
            self.scribe.write(Entry::Epochs(epochs, Heard::default()))?;
        }
        Ok(())
    }

    /// Notes which pushed batches epochs through this one took, with these epochs: behind them a run begins that begins at its end.
    pub fn note_pushed(&mut self, epoch: Epoch, through: Option<Through>) -> Result<(), LogError> {
        let Some(through) = through else { return Ok(()) };
        // Whoever asks for the epochs next must not be told that there are none to wait for.
        self.sync()?;
        self.scribe.write_later(Entry::Pushed(epoch, through))
    }

    /// Notes an epoch before the run takes it. With what was said it is durable, and all epochs before it, when this
    /// returns: without their bounds nobody could tell again where it was said.
    pub fn note(&mut self, epoch: Epoch, batch: &Batch, said: &[Said]) -> Result<(), LogError> {
        self.waiting.push(batch.logged(epoch, &self.names));
        if said.is_empty() {
            if self.waiting.len() >= WAITING_MAX {
                let epochs = std::mem::take(&mut self.waiting);
                self.scribe.write_later(Entry::Epochs(epochs, Heard::default()))?;
            }
            return Ok(());
        }
        let new = said.iter().filter(|said| said.id.is_none());
        let heard = Heard {
            epoch,
            said: new.map(|said| (said.kind.name(), said.body.clone())).collect(),
            taken: said.iter().filter_map(|said| said.id).collect(),
        };
        self.scribe.write(Entry::Epochs(std::mem::take(&mut self.waiting), heard))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{IncidentId, Triage};

    #[test]
    fn an_epoch_whose_pushed_batches_are_noted_is_in_the_log_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (log, scribe) = (Log::open(folder.path()).unwrap(), Scribe::by_hand(folder.path()).unwrap());
        let mut journal = Journal::new(log, scribe, Arc::default());
        journal.note(1, &Batch::default(), &[]).unwrap();
        journal.note_pushed(1, Some(Through::default())).unwrap();
        journal.sync().unwrap();
        assert_eq!(journal.log().last_epoch().unwrap(), 1);
    }

    #[test]
    fn what_is_said_has_its_effect() {
        let names = Names::default();
        let incident_id = IncidentId::of(&[b"i"]);
        let verdict = Verdict { incident_id, verdict: Triage::TruePositive, by: "ada".into(), time: 7 };
        let entity = Entity::parse("host:web-01", &names).unwrap();
        let known = Known::Assets { criticality: 3, exposed: true, owner: names.intern("ada") };
        let row = ContextRow { tenant: Sym::EMPTY, protected: false, known };
        let edge = Move { source: "edge".to_owned(), partitions: vec![2], time: 5_000 };
        let said = [
            Said::moved(edge.clone()),
            Said::as_of(9_000),
            Said::context(&[((entity, row), 1)], true, &names),
            Said::context(&[((entity, row), -1)], false, &names),
            Said { id: Some(1), kind: InputKind::Verdict, body: word(&verdict, "t") },
            Said { id: Some(2), kind: InputKind::Verdict, body: "{}".into() },
        ];
        let effects = Effects::of(&said, &names);
        let moved = Move { source: names.intern("edge"), partitions: vec![2], time: 5_000 };
        assert_eq!((effects.as_of, &effects.moves[..]), (Some(9_000), &[moved][..]));
        assert_eq!(effects.strange.len(), 1);
        let mut batch = Batch { settled: 4, ..Batch::default() };
        effects.fill(&mut batch);
        assert_eq!(batch.context, [((entity, row), 1), ((entity, row), -1)]);
        assert_eq!(batch.verdicts, [(verdict, names.intern("t"))]);
        let kinds: Vec<_> = batch.inputs.iter().map(|row| (row.kind, row.tick)).collect();
        assert_eq!(
            kinds,
            [InputKind::Tick, InputKind::Tick, InputKind::Context, InputKind::Context, InputKind::Verdict]
                .map(|kind| (kind, 4)),
        );
    }
}
