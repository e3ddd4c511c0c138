//! Settle: what came of actions and incidents, with who says so.
//!
//! In: ends of actions, verdicts. Out: outcomes; a person's second verdict on an incident takes back the first.
//! State: the last verdict of each person on each incident; it dies 90 days after it was given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{
    Action, ActionStatus, IncidentId, LabelSource, Millis, Outcome, Sym, Tick, Triage, Verdict,
};

const MEMORY: Tick = 90 * 24 * 3600;

/// Labels by people and by executors.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Labels {
    verdicts: BTreeMap<(IncidentId, String), Outcome>,
}

impl Labels {
    /// The outcome of an action that has ended: automation's word, never an analyst's. Nothing can be said of one
    /// that joined another's effect, was told only, is in doubt or was lifted.
    #[must_use]
    pub fn receipt(action: &Action, executor: &str) -> Option<Outcome> {
        let success = match action.status {
            ActionStatus::Succeeded => true,
            ActionStatus::Failed => false,
            ActionStatus::Requested
            | ActionStatus::Joined
            | ActionStatus::DryRun
            | ActionStatus::InDoubt
            | ActionStatus::Undone => return None,
        };
        // A joined action fails with the one it joined; that one's outcome says it already.
        (action.attempts > 0).then(|| Outcome {
            action_id: Some(action.id),
            incident_id: action.incident_id,
            tick: action.tick,
            tenant: action.tenant,
            success: Some(success),
            verdict: None,
            label_source: LabelSource::Automation,
            labelled_by: executor.to_owned(),
            time: action.finished_time.unwrap_or(action.tick.saturating_mul(1000)),
            diff: 1,
        })
    }

    /// A person's word on an incident; their earlier one is taken back. The same word again says nothing new.
    pub fn verdict(&mut self, verdict: &Verdict, tenant: Sym, tick: Tick) -> Vec<Outcome> {
        let by = verdict.by.trim().to_owned();
        let outcome = said(verdict.incident_id, verdict.verdict, &by, tenant, tick, verdict.time);
        let key = (verdict.incident_id, by.to_lowercase());
        match self.verdicts.get(&key) {
            Some(earlier) if earlier.verdict == outcome.verdict => Vec::new(),
            Some(_) | None => {
                let earlier = self.verdicts.insert(key, outcome.clone());
                let back = earlier.map(|earlier| Outcome { diff: -1, ..earlier });
                back.into_iter().chain([outcome]).collect()
            }
        }
    }

    /// Forgets what has had its time.
    pub fn advance(&mut self, now: Tick) {
        self.verdicts.retain(|_, outcome| outcome.tick + MEMORY > now);
    }
}

fn said(
    incident_id: IncidentId,
    verdict: Triage,
    by: &str,
    tenant: Sym,
    tick: Tick,
    time: Millis,
) -> Outcome {
    Outcome {
        action_id: None,
        incident_id,
        tick,
        tenant,
        success: None,
        verdict: Some(verdict),
        label_source: LabelSource::Human,
        labelled_by: by.to_owned(),
        time,
        diff: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_verdict_replaces_the_first() {
        let mut labels = Labels::default();
        let incident_id = IncidentId::of(&[b"i"]);
        let mut say = |verdict, by: &str, tick| {
            let verdict = Verdict { incident_id, verdict, by: by.to_owned(), time: tick * 1000 };
            let said = labels.verdict(&verdict, Sym::EMPTY, tick);
            said.iter().map(|it| (it.verdict.unwrap().name(), it.diff, it.tick)).collect::<Vec<_>>()
        };
        assert_eq!(say(Triage::TruePositive, "ada", 1), [("true_positive", 1, 1)]);
        assert_eq!(say(Triage::TruePositive, "ada ", 2), []);
        assert_eq!(
            say(Triage::FalsePositive, "Ada", 3),
            [("true_positive", -1, 1), ("false_positive", 1, 3)]
        );
        assert_eq!(say(Triage::TruePositive, "bo", 4), [("true_positive", 1, 4)]);
    }
}
