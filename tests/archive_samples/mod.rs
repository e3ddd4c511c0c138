//! Samples: rows of every table from a seed, with what is awkward in them: nulls, empty lists, long and odd text,
//! times before 1970, the greatest numbers.
#![allow(dead_code, reason = "shared by tests and benches that each use a part of it")]

use std::sync::Arc;

use quell::archive::{AlertRow, DecisionRow, FindingRow, IncidentRow, Rows, TurnRow, VerdictRow};
use quell::record::attack::{TACTICS, canonical, tactics_of};
use quell::record::features::{NUMERIC, TOKENS};
use quell::record::{
    Action, ActionClass, ActionId, ActionStatus, Alert, AlertId, Candidate, ContextFacts, Decision,
    DecisionId, Duplicate, Entity, EntityKind, EpochRow, Features, Finding, Incident, IncidentId,
    IncidentKind, IncidentState, InputKind, InputRow, Judgement, LabelSource, Link, Member, Names,
    Observable, Observed, Outcome, Reason, Reject, Role, Ruling, Score, Severity, Stage, Sym, Triage,
    Unusual, Verb, Verdict, tick_of,
};

/// Draws from a seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Any number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.below(100)).unwrap_or_default()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or_default()]
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.roll().to_le_bytes());
        id[8..].copy_from_slice(&self.roll().to_le_bytes());
        id
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        if self.coin() { Some(some(self)) } else { None }
    }

    /// Within two days, now and then before 1970.
    fn time(&mut self) -> i64 {
        let time = self.below(86_400_000).cast_signed();
        if self.below(40) == 0 { -time } else { 1_643_000_000_000 + time }
    }

    fn text(&mut self) -> String {
        let odd = ["", "plain", "ü ☃ \u{1f980}", "a,b\n\"c\"\t'", "\u{0}", "{\"time\":1,\"a\":[1,2]}"];
        let text = self.pick(&odd).to_owned();
        if self.coin() { format!("{text}{}", self.below(1000)) } else { text }
    }

    fn score(&mut self) -> Score {
        Score(u16::try_from(self.below(10_001)).unwrap_or_default())
    }

    fn diff(&mut self) -> i64 {
        self.pick(&[1, 1, 1, -1])
    }

    fn sym(&mut self, names: &Names, what: &str) -> Sym {
        let text = format!("{what}-{}", self.below(7));
        names.intern(&text)
    }

    fn entity(&mut self, names: &Names) -> Entity {
        let value = self.text();
        Entity { kind: self.pick(&EntityKind::ALL), value: names.intern(&value) }
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Dice) -> T) -> Vec<T> {
        (0..self.below(5)).map(|_| one(self)).collect()
    }
}

/// An alert.
pub(crate) fn alert(dice: &mut Dice, names: &Names) -> AlertRow {
    let time = dice.time();
    let tags: Vec<&str> = dice.list(|dice| dice.pick(&["TA0008", "TA0001", "T1021.002", "T1110", "T1046"]));
    let attacks = canonical(tags).1;
    let alert = Alert {
        id: AlertId(dice.id()),
        time,
        tick: tick_of(time),
        tenant: dice.sym(names, "tenant"),
        source: dice.sym(names, "source"),
        position: dice.pick(&[0, 1, 77, i64::MAX.cast_unsigned()]),
        product: dice.sym(names, "product"),
        rule: dice.sym(names, "rule"),
        title: dice.sym(names, "title"),
        severity: dice.pick(&Severity::ALL),
        identified: dice.coin(),
        further: false,
        tactics: tactics_of(&attacks),
        attacks: names.intern(&attacks),
        entities: dice
            .list(|dice| Observable {
                entity: dice.entity(names),
                role: dice.pick(&[Role::Related, Role::Source, Role::Destination]),
            })
            .into(),
        unmapped: dice.maybe(|dice| dice.text().into()),
    };
    AlertRow { alert: Arc::new(alert), repeat_of: dice.maybe(|dice| AlertId(dice.id())) }
}

/// A change of membership.
pub(crate) fn member(dice: &mut Dice, names: &Names) -> Member {
    Member {
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        incident_id: IncidentId(dice.id()),
        alert_id: AlertId(dice.id()),
        diff: dice.diff(),
    }
}

/// Why two alerts are joined.
pub(crate) fn link(dice: &mut Dice, names: &Names) -> Link {
    Link {
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        incident_id: IncidentId(dice.id()),
        alert_id: AlertId(dice.id()),
        other_alert_id: AlertId(dice.id()),
        entity: dice.maybe(|dice| dice.entity(names)),
        evidence: dice.pick(&["session", "rare", "rule", "campaign"]),
        weight: dice.pick(&[0, -1, i32::MAX, 2500]),
        diff: dice.diff(),
    }
}

/// A version of an incident.
pub(crate) fn incident(dice: &mut Dice, names: &Names) -> IncidentRow {
    let incident = Incident {
        id: IncidentId(dice.id()),
        version: dice.pick(&[1, 2, u32::MAX]),
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        kind: dice.pick(&[IncidentKind::Linked, IncidentKind::Background]),
        state: dice.pick(&[
            IncidentState::Open,
            IncidentState::Closed,
            IncidentState::Merged,
            IncidentState::Split,
        ]),
        merged_into: dice.maybe(|dice| IncidentId(dice.id())),
        succeeds: dice.maybe(|dice| IncidentId(dice.id())),
        first_seen: dice.time(),
        last_seen: dice.time(),
        alert_count: dice.below(1000),
        severities: std::array::from_fn(|_| dice.small()),
        severity: dice.pick(&Severity::ALL),
        tactics: tactics_of(""),
        attacks: dice.list(|dice| dice.sym(names, "T100")).into(),
        entities: dice.list(|dice| dice.entity(names)).into(),
        entity_count: dice.small(),
        rules: dice.list(|dice| (dice.sym(names, "rule"), dice.small())).into(),
        products: dice.list(|dice| dice.sym(names, "product")).into(),
        correlations: dice.list(|dice| dice.sym(names, "correlation")).into(),
        evidence: dice.pick(&[0, -7, i32::MAX]),
        unusual: Unusual {
            rarity: dice.pick(&[0, 1_300]),
            unusual_hour: dice.pick(&[0, 1_000]),
            new_pair: dice.coin(),
        },
    };
    let judgement = dice.maybe(|dice| Judgement {
        triage: dice.pick(&Triage::ALL),
        confidence: dice.score(),
        next_tactics: [0, 13, dice.pick(&[3, 4])],
        scores: Vec::new(),
    });
    let features = dice.maybe(|dice| {
        Arc::new(Features {
            numeric: [f32::MIN_POSITIVE; NUMERIC.len()].map(|least| dice.pick(&[0.0, 0.1, 1.0, least])),
            tokens: [0; TOKENS].map(|_| dice.pick(&[0, 1, 2047])),
            history: [0; 3].map(|_| dice.pick(&[0, 1, 0xff_ffff])),
        })
    });
    let context = context(dice, names);
    IncidentRow { incident: Arc::new(incident), judgement, features, context }
}

/// What the context says.
fn context(dice: &mut Dice, names: &Names) -> ContextFacts {
    ContextFacts {
        criticality: dice.pick(&[0, 4]),
        privilege: dice.pick(&[0, 2]),
        indicator: dice.pick(&[0, 100]),
        indicator_count: dice.small(),
        exposed: dice.coin(),
        protected: dice.list(|dice| dice.entity(names)),
        indicators: dice.list(|dice| dice.entity(names)),
        owners: dice.list(|dice| dice.sym(names, "owner")),
        zones: dice.list(|dice| dice.sym(names, "zone")),
        vulnerabilities: dice.list(|dice| dice.sym(names, "CVE-2026-")),
        vulnerability_count: dice.small(),
        base_score: dice.pick(&[0, 98, 100]),
        is_exploit_available: dice.coin(),
        sighted: dice.list(|dice| dice.entity(names)),
        sightings: dice.below(3),
        first_sighted: dice.time(),
        last_sighted: dice.time(),
    }
}

/// The ids of the tactics that a judgement expects.
pub(crate) fn tactic_ids(judgement: &Judgement) -> Vec<&'static str> {
    judgement.next_tactics.iter().map(|at| TACTICS[usize::from(*at)].0).collect()
}

/// A ruling.
pub(crate) fn decision(dice: &mut Dice, names: &Names) -> DecisionRow {
    let reason = match dice.below(5) {
        0 => Reason::Confident,
        1 => Reason::Approved { by: dice.text() },
        2 => Reason::BelowFloor { score: dice.score(), floor: dice.score() },
        3 => Reason::Protected { entity: dice.entity(names) },
        _ => Reason::Budget { verb: "deny".into(), budget: dice.small() },
    };
    let playbook = dice.sym(names, "playbook");
    let decision = Decision {
        id: DecisionId(dice.id()),
        incident_id: IncidentId(dice.id()),
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        playbook_id: dice.pick(&[playbook, Sym::EMPTY]),
        ruling: dice.pick(&[Ruling::Execute, Ruling::Escalate, Ruling::Decline]),
        reason,
        score: dice.score(),
        confidence: dice.score(),
        model_version: dice.sym(names, "v"),
        supersedes: dice.maybe(|dice| DecisionId(dice.id())),
        undoes: dice.maybe(|dice| DecisionId(dice.id())),
    };
    DecisionRow {
        decision,
        superseded_by: dice.maybe(|dice| DecisionId(dice.id())),
        plan_hash: dice.sym(names, "plan"),
    }
}

fn action(dice: &mut Dice, names: &Names) -> Action {
    use ActionClass::{Idempotent, Keyed, Opaque, Probeable};
    use ActionStatus::{DryRun, Failed, InDoubt, Joined, Requested, Succeeded, Undone};
    Action {
        id: ActionId(dice.id()),
        seq: dice.small(),
        decision_id: DecisionId(dice.id()),
        incident_id: IncidentId(dice.id()),
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        verb: dice.pick(&Verb::ALL),
        target: dice.text(),
        class: dice.pick(&[Idempotent, Keyed, Probeable, Opaque]),
        status: dice.pick(&[Requested, Succeeded, Failed, Joined, DryRun, InDoubt, Undone]),
        attempts: dice.small(),
        requested_time: dice.time(),
        finished_time: dice.maybe(Dice::time),
        undo_of: dice.maybe(|dice| ActionId(dice.id())),
        reason: dice.maybe(Dice::text),
    }
}

fn outcome(dice: &mut Dice, names: &Names) -> Outcome {
    Outcome {
        action_id: dice.maybe(|dice| ActionId(dice.id())),
        incident_id: IncidentId(dice.id()),
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        success: dice.maybe(Dice::coin),
        verdict: dice.maybe(|dice| dice.pick(&Triage::ALL)),
        label_source: dice.pick(&[LabelSource::Human, LabelSource::Automation, LabelSource::Model]),
        labelled_by: dice.text(),
        time: dice.time(),
        diff: dice.diff(),
    }
}

fn input(dice: &mut Dice, names: &Names, epoch: u64) -> InputRow {
    use InputKind::{Approval, Context, Promotion, Push, Receipt, Score, Sighting, Tick, Verdict};
    InputRow {
        epoch,
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        kind: dice.pick(&[Tick, Approval, Verdict, Receipt, Score, Context, Promotion, Push, Sighting]),
        body: dice.text(),
    }
}

fn turn(dice: &mut Dice, names: &Names, epoch: u64) -> TurnRow {
    let turn = EpochRow {
        epoch,
        tick: tick_of(dice.time()),
        source: dice.sym(names, "source"),
        partition: dice.small(),
        from: dice.below(100),
        to: i64::MAX.cast_unsigned(),
        records: dice.below(100),
        ignored: dice.below(100),
        further: dice.below(100),
    };
    TurnRow { turn, plan_hash: dice.sym(names, "plan"), model_version: dice.sym(names, "v") }
}

fn reject(dice: &mut Dice, names: &Names) -> Reject {
    Reject {
        stage: dice.pick(&[Stage::Ingest, Stage::Normalize, Stage::Enrich]),
        reason: dice.text(),
        tick: tick_of(dice.time()),
        tenant: dice.sym(names, "tenant"),
        source: dice.sym(names, "source"),
        position: dice.below(100),
        raw: dice.text(),
    }
}

fn finding(dice: &mut Dice, names: &Names) -> FindingRow {
    let time = dice.time();
    let finding = Finding {
        tick: tick_of(time),
        tenant: dice.sym(names, "tenant"),
        correlation: dice.sym(names, "correlation"),
        group: dice.sym(names, "group"),
        time,
        alert_ids: dice.list(|dice| AlertId(dice.id())),
    };
    FindingRow { finding, diff: dice.diff() }
}

/// `n` rows of every table, all of one epoch.
pub(crate) fn rows(dice: &mut Dice, names: &Names, epoch: u64, n: usize) -> Vec<Rows> {
    fn many<T>(n: usize, dice: &mut Dice, one: impl Fn(&mut Dice) -> T) -> Vec<T> {
        (0..n).map(|_| one(dice)).collect()
    }
    vec![
        Rows::Alerts(many(n, dice, |dice| alert(dice, names))),
        Rows::Duplicates(many(n, dice, |dice| Duplicate {
            alert_id: AlertId(dice.id()),
            tick: tick_of(dice.time()),
            time: dice.time(),
            tenant: dice.sym(names, "tenant"),
            source: dice.sym(names, "source"),
            position: dice.below(9),
        })),
        Rows::Rejects(many(n, dice, |dice| reject(dice, names))),
        Rows::Observed(many(n, dice, |dice| Observed {
            tenant: dice.sym(names, "tenant"),
            source: dice.sym(names, "source"),
            entity: dice.text(),
            records: dice.below(100),
            first: dice.time(),
            last: dice.time(),
        })),
        Rows::Matches(many(n, dice, |dice| finding(dice, names))),
        Rows::Members(many(n, dice, |dice| member(dice, names))),
        Rows::Links(many(n, dice, |dice| link(dice, names))),
        Rows::Incidents(many(n, dice, |dice| incident(dice, names))),
        Rows::Candidates(many(n, dice, |dice| Candidate {
            incident_id: IncidentId(dice.id()),
            tick: tick_of(dice.time()),
            tenant: dice.sym(names, "tenant"),
            playbook_id: dice.sym(names, "playbook"),
            score: dice.score(),
            propensity: dice.score(),
            eligible: dice.coin(),
            diff: dice.diff(),
        })),
        Rows::Decisions(many(n, dice, |dice| decision(dice, names))),
        Rows::Actions(many(n, dice, |dice| action(dice, names))),
        Rows::Outcomes(many(n, dice, |dice| outcome(dice, names))),
        Rows::Verdicts(many(n, dice, |dice| VerdictRow {
            verdict: Verdict {
                incident_id: IncidentId(dice.id()),
                verdict: dice.pick(&Triage::ALL),
                by: dice.text(),
                time: dice.time(),
            },
            tenant: dice.sym(names, "tenant"),
            tick: tick_of(dice.time()),
        })),
        Rows::Epochs(many(n, dice, |dice| turn(dice, names, epoch))),
        Rows::Inputs(many(n, dice, |dice| input(dice, names, epoch))),
    ]
}
