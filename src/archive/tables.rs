//! Tables: the columns of each, in the words of the outside contract. A column is one entry here and nowhere else.

use arrow_array::ArrayRef;
use arrow_array::builder::ArrayBuilder;
use arrow_schema::Field;

use crate::record::attack::TACTICS;
use crate::record::place::{partition_of, within};
use crate::record::{
    Action, ActionClass, ActionId, ActionStatus, AlertId, Candidate, DecisionId, Duplicate, Entity, Epoch,
    IncidentId, IncidentKind, IncidentState, InputKind, InputRow, LabelSource, Link, Member, Names,
    Observable, Observed, Outcome, Reject, Ruling, Score, Severity, Stage, Sym, Tick, Triage, Verb,
};

use super::cell::{Attacks, Cell, Column, Each, Put, Utc};
use super::line::{Line, cell, field, joined, table};
use super::rows::{AlertRow, DecisionRow, FindingRow, IncidentRow, TurnRow, VerdictRow};

/// Text that the archive leaves empty rather than writing "".
fn named(sym: Sym) -> Option<Sym> {
    (sym != Sym::EMPTY).then_some(sym)
}

table! {
    /// Every alert, repeats included.
    AlertLine (AlertColumns) = "alerts" of row: AlertRow, names;
    tenant = row.alert.tenant;
    tick = row.alert.tick;
    /// Its identity.
    alert_id: AlertId = row.alert.id;
    /// When it happened.
    time: Utc = Utc(row.alert.time);
    /// The source's name, or the topic.
    source: Sym = row.alert.source;
    /// Its partition there; 0 where there is but one.
    partition: u32 = partition_of(row.alert.position);
    /// The record's first line from 1, or its offset.
    position: u64 = within(row.alert.position);
    /// The product that raised it.
    product: Sym = row.alert.product;
    /// The rule's id at the product, or its name.
    rule: Sym = row.alert.rule;
    /// The rule's name.
    title: Sym = row.alert.title;
    /// OCSF `severity_id`, 0 to 6.
    severity_id: Severity = row.alert.severity;
    /// What it is about, with the role: `src_ip:10.0.0.1`.
    entities: Vec<Observable> = &row.alert.entities[..];
    /// ATT&CK ids: tactics, then techniques.
    attacks: Attacks = Attacks(row.alert.attacks);
    /// The alert of the same rule and entities, within the dedup window, that it repeats.
    repeat_of: Option<AlertId> = row.repeat_of;
    /// Whether the vendor named it.
    identified: bool = row.alert.identified;
    /// JSON of the fields that the mapping did not take.
    unmapped: Option<Box<str>> = row.alert.unmapped.as_deref();
}

table! {
    /// The same alert seen again within 24 hours.
    DuplicateLine (DuplicateColumns) = "duplicates" of row: Duplicate, names;
    tenant = row.tenant;
    tick = row.tick;
    /// The alert that it repeats.
    alert_id: AlertId = row.alert_id;
    /// When it happened.
    time: Utc = Utc(row.time);
    /// The source's name, or the topic.
    source: Sym = row.source;
    /// Its partition there; 0 where there is but one.
    partition: u32 = partition_of(row.position);
    /// The record's first line from 1, or its offset.
    position: u64 = within(row.position);
}

table! {
    /// What could not become an alert.
    RejectLine (RejectColumns) = "rejects" of row: Reject, names;
    tenant = row.tenant;
    tick = row.tick;
    /// Where it failed.
    stage: Stage = row.stage;
    /// Why, and what would cure it.
    reason: String = row.reason.as_str();
    /// The source's name, or the topic.
    source: Sym = row.source;
    /// Its partition there; 0 where there is but one.
    partition: u32 = partition_of(row.position);
    /// The record's first line from 1, or its offset.
    position: u64 = within(row.position);
    /// Its bytes, the first 8 KiB, what is not UTF-8 replaced.
    raw: String = row.raw.as_str();
}

table! {
    /// An address, domain, hash, mailbox or URL in records of no concern: one row an epoch, source, day and entity, or more.
    ObservedLine (ObservedColumns) = "observed" of row: Observed, names;
    tenant = row.tenant;
    tick = row.tick();
    /// The source's name, or the topic.
    source: Sym = row.source;
    /// As `alerts.entities` has it, without a role.
    entity: String = row.entity.as_str();
    /// Records that name it.
    records: u64 = row.records;
    /// Event time of the first.
    first_seen_time: Utc = Utc(row.first);
    /// Event time of the last.
    last_seen_time: Utc = Utc(row.last);
}

table! {
    /// A correlation's finding, or its withdrawal by a late alert.
    MatchLine (MatchColumns) = "matches" of row: FindingRow, names;
    tenant = row.finding.tenant;
    tick = row.finding.tick;
    /// The correlation rule's name.
    correlation: Sym = row.finding.correlation;
    /// The values of its `group-by` fields.
    group: Sym = row.finding.group;
    /// When the alert that completed it happened.
    time: Utc = Utc(row.finding.time);
    /// The alerts that made it, in order.
    alert_ids: Vec<AlertId> = &row.finding.alert_ids[..];
    /// +1 made, -1 withdrawn.
    diff: i64 = row.diff;
}

table! {
    /// A change of membership.
    MemberLine (MemberColumns) = "members" of row: Member, names;
    tenant = row.tenant;
    tick = row.tick;
    /// Where it belongs.
    incident_id: IncidentId = row.incident_id;
    /// What belongs.
    alert_id: AlertId = row.alert_id;
    /// +1 added, -1 taken back.
    diff: i64 = row.diff;
}

table! {
    /// Why two alerts are joined.
    LinkLine (LinkColumns) = "links" of row: Link, names;
    tenant = row.tenant;
    tick = row.tick;
    /// The incident that holds both.
    incident_id: IncidentId = row.incident_id;
    /// The later alert.
    alert_id: AlertId = row.alert_id;
    /// The earlier alert.
    other_alert_id: AlertId = row.other_alert_id;
    /// What they share; none where something else joined them.
    entity: Option<Entity> = row.entity;
    /// The kind of evidence.
    evidence: Sym = row.evidence;
    /// The evidence's weight in thousandths of a decade of surprise.
    weight: i32 = row.weight;
    /// +1 added, -1 taken back.
    diff: i64 = row.diff;
}

table! {
    /// A version of an incident; the greatest `version` is its last word.
    IncidentLine (IncidentColumns) = "incidents" of row: IncidentRow, names;
    tenant = row.incident.tenant;
    tick = row.incident.tick;
    /// Its name, which never changes.
    incident_id: IncidentId = row.incident.id;
    /// Counts from 1.
    version: u32 = row.incident.version;
    /// Whether evidence joined its alerts: linked or background.
    kind: IncidentKind = row.incident.kind;
    /// Where it stands: open, closed, merged, split.
    state: IncidentState = row.incident.state;
    /// The incident that took it in.
    merged_into: Option<IncidentId> = row.incident.merged_into;
    /// The incident that it goes on from.
    succeeds: Option<IncidentId> = row.incident.succeeds;
    /// When its earliest alert happened.
    first_seen_time: Utc = Utc(row.incident.first_seen);
    /// When its latest alert happened.
    last_seen_time: Utc = Utc(row.incident.last_seen);
    /// Alerts in it.
    alert_count: u64 = row.incident.alert_count;
    /// Entities seen, sorted, the first met: `host:mail`.
    entities: Vec<Entity> = &row.incident.entities[..];
    /// Distinct entities met.
    entity_count: u32 = row.incident.entity_count;
    /// The highest OCSF `severity_id`.
    severity_id: Severity = row.incident.severity;
    /// Alerts by OCSF `severity_id`, 0 to 6.
    severities: Vec<u32> = &row.incident.severities[..];
    /// ATT&CK ids seen, sorted.
    attacks: Vec<Sym> = &row.incident.attacks[..];
    /// Products seen, sorted.
    products: Vec<Sym> = &row.incident.products[..];
    /// Names of the rules that fired, sorted.
    rules: Vec<Sym> = Each(row.incident.rules.iter().map(|(rule, _)| *rule));
    /// Alerts of each of `rules`.
    rule_counts: Vec<u32> = Each(row.incident.rules.iter().map(|(_, count)| *count));
    /// Correlation rules that fired in it, sorted.
    correlations: Vec<Sym> = &row.incident.correlations[..];
    /// Sum of its rules' strongest surprises, in thousandths of a decade.
    evidence: i32 = row.incident.evidence;
    /// How seldom one of its users or hosts is seen at its tenant, in thousandths of a decade; 0 where not worth saying.
    rarity: i32 = row.incident.unusual.rarity;
    /// How seldom one of its users is active at that hour of the day, in thousandths of a decade; 0 where not worth saying.
    unusual_hour: i32 = row.incident.unusual.unusual_hour;
    /// Whether a known user was on a known host for the first time.
    new_pair: bool = row.incident.unusual.new_pair;
    /// The highest criticality among its assets, 0 to 4.
    criticality: u8 = row.context.criticality;
    /// The highest privilege among its identities, 0 to 2.
    privilege: u8 = row.context.privilege;
    /// The highest confidence among its indicators, 0 to 100.
    indicator: u8 = row.context.indicator;
    /// Entities of it that are indicators, counted.
    indicator_count: u32 = row.context.indicator_count;
    /// Whether one of its assets is exposed, or lies in a zone that is.
    exposed: bool = row.context.exposed;
    /// Entities of it that are protected, sorted.
    protected: Vec<Entity> = &row.context.protected[..];
    /// Entities of it that are indicators, sorted.
    indicators: Vec<Entity> = &row.context.indicators[..];
    /// Who answers for its assets, sorted.
    owners: Vec<Sym> = &row.context.owners[..];
    /// Network zones that its addresses lie in, sorted.
    zones: Vec<Sym> = &row.context.zones[..];
    /// CVE ids of the worst vulnerabilities of its assets, worst first.
    vulnerabilities: Vec<Sym> = &row.context.vulnerabilities[..];
    /// Distinct vulnerabilities of its assets.
    vulnerability_count: u32 = row.context.vulnerability_count;
    /// The highest CVSS base score among them, in tenths: 0 to 100.
    base_score: u8 = row.context.base_score;
    /// Whether an exploit of one is known.
    is_exploit_available: bool = row.context.is_exploit_available;
    /// Indicators of it that the archive has seen in the days before its first, sorted.
    sighted: Vec<Entity> = &row.context.sighted[..];
    /// How often.
    sightings: u64 = row.context.sightings;
    /// When first; none where never.
    first_sighted_time: Option<Utc> = (row.context.sightings > 0).then_some(Utc(row.context.first_sighted));
    /// When last; none where never.
    last_sighted_time: Option<Utc> = (row.context.sightings > 0).then_some(Utc(row.context.last_sighted));
    /// What the model takes it for: `true_positive`, `benign_positive`, `false_positive`.
    triage: Option<Triage> = row.judgement.as_ref().map(|judgement| judgement.triage);
    /// The triage's probability, 0 to 1.
    confidence: Option<Score> = row.judgement.as_ref().map(|judgement| judgement.confidence);
    /// The ATT&CK tactics likeliest to come next, likeliest first.
    next_tactics: Option<Vec<Sym>> = row.judgement.as_ref().map(|judgement| {
        Each(judgement.next_tactics.iter().filter_map(|at| TACTICS.get(usize::from(*at)).map(|(id, _)| *id)))
    });
    /// What the model saw, in the order that it records.
    features: Option<Vec<f32>> = row.features.as_ref().map(|features| &features.numeric[..]);
    /// Buckets of hashed names that the model saw, sorted, padded with 0.
    tokens: Option<Vec<u16>> = row.features.as_ref().map(|features| &features.tokens[..]);
}

table! {
    /// A playbook that was weighed.
    CandidateLine (CandidateColumns) = "candidates" of row: Candidate, names;
    tenant = row.tenant;
    tick = row.tick;
    /// The incident.
    incident_id: IncidentId = row.incident_id;
    /// CACAO id of the playbook.
    playbook_id: Sym = row.playbook_id;
    /// The model's probability that it succeeds, 0 to 1.
    score: Score = row.score;
    /// The probability with which it was chosen, 0 to 1.
    propensity: Score = row.propensity;
    /// Whether guards allow it to be chosen.
    eligible: bool = row.eligible;
    /// +1 weighed, -1 withdrawn.
    diff: i64 = row.diff;
}

table! {
    /// A ruling. Of two rows of one decision, the one with `superseded_by` is the last word.
    DecisionLine (DecisionColumns) = "decisions" of row: DecisionRow, names;
    tenant = row.decision.tenant;
    tick = row.decision.tick;
    /// Its identity.
    decision_id: DecisionId = row.decision.id;
    /// The incident.
    incident_id: IncidentId = row.decision.incident_id;
    /// The playbook ruled on; none where there was none.
    playbook_id: Option<Sym> = named(row.decision.playbook_id);
    /// What is to be done: execute, escalate, decline.
    ruling: Ruling = row.decision.ruling;
    /// Why, in a word.
    reason: Sym = row.decision.reason.name();
    /// The reason's numbers and names.
    reason_detail: Option<String> = Some(row.decision.reason.text(names)).as_deref();
    /// The playbook's score, 0 to 1.
    score: Score = row.decision.score;
    /// The triage's confidence, 0 to 1.
    confidence: Score = row.decision.confidence;
    /// The model that scored it.
    model_version: Sym = row.decision.model_version;
    /// The plan that ruled.
    plan_hash: Sym = row.plan_hash;
    /// The later decision that replaced it.
    superseded_by: Option<DecisionId> = row.superseded_by;
    /// The earlier decision that it replaced.
    supersedes: Option<DecisionId> = row.decision.supersedes;
    /// The executed decision whose actions it is to undo; none for a ruling on a playbook.
    undoes: Option<DecisionId> = row.decision.undoes;
}

table! {
    /// A step's command, and how it goes on.
    ActionLine (ActionColumns) = "actions" of row: Action, names;
    tenant = row.tenant;
    tick = row.tick;
    /// Its identity.
    action_id: ActionId = row.id;
    /// Counts from 0 within the action.
    seq: u32 = row.seq;
    /// The ruling behind it.
    decision_id: DecisionId = row.decision_id;
    /// The incident.
    incident_id: IncidentId = row.incident_id;
    /// What is done, in the words of `OpenC2`.
    verb: Verb = row.verb;
    /// To what: `host:mail`.
    target: String = row.target.as_str();
    /// What may be done with it in doubt.
    class: ActionClass = row.class;
    /// How it stands.
    status: ActionStatus = row.status;
    /// Calls made so far.
    attempts: u32 = row.attempts;
    /// When it was decided.
    requested_time: Utc = Utc(row.requested_time);
    /// When it ended.
    finished_time: Option<Utc> = row.finished_time.map(Utc);
    /// The action that it undoes, because that stands on withdrawn ground.
    undo_of: Option<ActionId> = row.undo_of;
    /// Why it undoes that; of one that failed or is in doubt, what the executor said.
    reason: Option<String> = row.reason.as_deref();
}

table! {
    /// What came of an action or an incident.
    OutcomeLine (OutcomeColumns) = "outcomes" of row: Outcome, names;
    tenant = row.tenant;
    tick = row.tick;
    /// The action; none where nothing was done.
    action_id: Option<ActionId> = row.action_id;
    /// The incident.
    incident_id: IncidentId = row.incident_id;
    /// Whether the action did what it should; none where nobody can tell.
    success: Option<bool> = row.success;
    /// What the incident was.
    verdict: Option<Triage> = row.verdict;
    /// Who says so: human, automation, model.
    label_source: LabelSource = row.label_source;
    /// By name: an analyst, an executor, a model.
    labelled_by: String = row.labelled_by.as_str();
    /// When.
    time: Utc = Utc(row.time);
    /// +1 said, -1 taken back.
    diff: i64 = row.diff;
}

table! {
    /// An analyst's word.
    VerdictLine (VerdictColumns) = "verdicts" of row: VerdictRow, names;
    tenant = row.tenant;
    tick = row.tick;
    /// On what.
    incident_id: IncidentId = row.verdict.incident_id;
    /// What it was.
    verdict: Triage = row.verdict.verdict;
    /// Who says so.
    by: String = row.verdict.by.as_str();
    /// When, by the analyst's clock.
    time: Utc = Utc(row.verdict.time);
}

table! {
    /// A turn of ingest: what it took from one partition.
    EpochLine (EpochColumns) = "epochs" of row: TurnRow, names;
    tenant = Sym::EMPTY;
    tick = row.turn.tick;
    /// The source's name, or the topic.
    source: Sym = row.turn.source;
    /// The partition within it.
    partition: u32 = row.turn.partition;
    /// Position of the first record taken.
    from: u64 = row.turn.from;
    /// Position of the last record taken.
    to: u64 = row.turn.to;
    /// Records taken, ignored ones included.
    records: u64 = row.turn.records;
    /// Of these, ignored ones.
    ignored: u64 = row.turn.ignored;
    /// Alerts and duplicates beyond the first of their record: an event may match several rules.
    further: u64 = row.turn.further;
    /// The plan in force.
    plan_hash: Sym = row.plan_hash;
    /// The model in force.
    model_version: Sym = row.model_version;
}

table! {
    /// What else came in.
    InputLine (InputColumns) = "inputs" of row: InputRow, names;
    tenant = row.tenant;
    tick = row.tick;
    /// What it is: tick, approval, verdict, receipt, score, context, promotion, push, sighting.
    kind: InputKind = row.kind;
    /// JSON.
    body: String = row.body.as_str();
}
