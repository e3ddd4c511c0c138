//! Nouns: lines of the archive back to what was written, bit for bit.

use std::sync::Arc;

use crate::record::attack::tactics_of;
use crate::record::place::position;
use crate::record::{
    Action, Alert, AlertId, Candidate, Duplicate, EpochRow, Finding, InputRow, Member, Names, Observed,
    Outcome, Reject, Verdict,
};

use super::rows::{AlertRow, FindingRow, TurnRow, VerdictRow};
use super::tables::{
    ActionLine, AlertLine, CandidateLine, DuplicateLine, EpochLine, InputLine, MatchLine, MemberLine,
    ObservedLine, OutcomeLine, RejectLine, VerdictLine,
};

impl AlertLine {
    /// The alert as it was written; `names` are the reader's.
    pub fn row(self, names: &Names) -> AlertRow {
        let repeat_of: Option<AlertId> = self.repeat_of;
        let alert = Alert {
            id: self.alert_id,
            time: self.time.0,
            tick: self.tick,
            tenant: self.tenant,
            source: self.source,
            position: position(self.partition, self.position),
            product: self.product,
            rule: self.rule,
            title: self.title,
            severity: self.severity_id,
            identified: self.identified,
            further: false,
            tactics: names.with(self.attacks.0, tactics_of),
            attacks: self.attacks.0,
            entities: self.entities.into(),
            unmapped: self.unmapped,
        };
        AlertRow { alert: Arc::new(alert), repeat_of }
    }
}

impl From<DuplicateLine> for Duplicate {
    fn from(line: DuplicateLine) -> Duplicate {
        let DuplicateLine { tenant, epoch: _, tick, alert_id, time, source, partition, position: at } = line;
        Duplicate { alert_id, tick, time: time.0, tenant, source, position: position(partition, at) }
    }
}

impl From<RejectLine> for Reject {
    fn from(line: RejectLine) -> Reject {
        let RejectLine { tenant, epoch: _, tick, stage, reason, source, partition, position: at, raw } = line;
        Reject { stage, reason, tick, tenant, source, position: position(partition, at), raw }
    }
}

impl From<ObservedLine> for Observed {
    fn from(line: ObservedLine) -> Observed {
        let ObservedLine {
            tenant,
            epoch: _,
            tick: _,
            source,
            entity,
            records,
            first_seen_time,
            last_seen_time,
        } = line;
        Observed { tenant, source, entity, records, first: first_seen_time.0, last: last_seen_time.0 }
    }
}

impl From<MemberLine> for Member {
    fn from(line: MemberLine) -> Member {
        let MemberLine { tenant, epoch: _, tick, incident_id, alert_id, diff } = line;
        Member { tick, tenant, incident_id, alert_id, diff }
    }
}

impl From<MatchLine> for FindingRow {
    fn from(line: MatchLine) -> FindingRow {
        let MatchLine { tenant, epoch: _, tick, correlation, group, time, alert_ids, diff } = line;
        FindingRow { finding: Finding { tick, tenant, correlation, group, time: time.0, alert_ids }, diff }
    }
}

impl From<CandidateLine> for Candidate {
    fn from(line: CandidateLine) -> Candidate {
        let CandidateLine {
            tenant,
            epoch: _,
            tick,
            incident_id,
            playbook_id,
            score,
            propensity,
            eligible,
            diff,
        } = line;
        Candidate { incident_id, tick, tenant, playbook_id, score, propensity, eligible, diff }
    }
}

impl From<ActionLine> for Action {
    fn from(line: ActionLine) -> Action {
        Action {
            id: line.action_id,
            seq: line.seq,
            decision_id: line.decision_id,
            incident_id: line.incident_id,
            tick: line.tick,
            tenant: line.tenant,
            verb: line.verb,
            target: line.target,
            class: line.class,
            status: line.status,
            attempts: line.attempts,
            requested_time: line.requested_time.0,
            finished_time: line.finished_time.map(|time| time.0),
            undo_of: line.undo_of,
            reason: line.reason,
        }
    }
}

impl From<OutcomeLine> for Outcome {
    fn from(line: OutcomeLine) -> Outcome {
        Outcome {
            action_id: line.action_id,
            incident_id: line.incident_id,
            tick: line.tick,
            tenant: line.tenant,
            success: line.success,
            verdict: line.verdict,
            label_source: line.label_source,
            labelled_by: line.labelled_by,
            time: line.time.0,
            diff: line.diff,
        }
    }
}

impl From<VerdictLine> for VerdictRow {
    fn from(line: VerdictLine) -> VerdictRow {
        let VerdictLine { tenant, epoch: _, tick, incident_id, verdict, by, time } = line;
        VerdictRow { verdict: Verdict { incident_id, verdict, by, time: time.0 }, tenant, tick }
    }
}

impl From<EpochLine> for TurnRow {
    fn from(line: EpochLine) -> TurnRow {
        let turn = EpochRow {
            epoch: line.epoch,
            tick: line.tick,
            source: line.source,
            partition: line.partition,
            from: line.from,
            to: line.to,
            records: line.records,
            ignored: line.ignored,
            further: line.further,
        };
        TurnRow { turn, plan_hash: line.plan_hash, model_version: line.model_version }
    }
}

impl From<InputLine> for InputRow {
    fn from(line: InputLine) -> InputRow {
        let InputLine { tenant, epoch, tick, kind, body } = line;
        InputRow { epoch, tick, tenant, kind, body }
    }
}
