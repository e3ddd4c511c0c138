//! Recall: what a model said before is said again, and the model is asked for the rest.
//!
//! In: an earlier run's answers, by what was asked. Out: judgements, each with the model that it is of.
//! State: an entry a judged version, of some 50 bytes and 16 a candidate; they live as long as the replay. An answer is found
//! only by the incident and all that the model saw of it; a candidate only by its playbook as it was then: under another plan
//! what did not exist then is asked of the model.

use rustc_hash::FxHashMap;

use super::ranker::{Case, Ranker};
use crate::record::{Features, IncidentId, Judgement, Score, Sym, Triage};

/// What was asked: an incident with the features of one version. Keys into the model's history are left out: they are
/// of the incident's rules and tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question(pub [u8; 16]);

impl Question {
    /// The question that these numbers and buckets of an incident are.
    #[must_use]
    pub fn of(incident: IncidentId, numeric: &[f32], tokens: &[u16]) -> Question {
        let mut bytes = incident.0.to_vec();
        bytes.extend(numeric.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
        Question(id)
    }

    /// The question that a case is.
    #[must_use]
    pub fn on(incident: IncidentId, features: &Features) -> Question {
        Question::of(incident, &features.numeric, &features.tokens)
    }
}

/// A playbook as it was: the first 8 bytes of its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edition(pub u64);

impl Edition {
    /// Of a playbook's hash.
    #[must_use]
    pub fn of(hash: &[u8; 32]) -> Edition {
        Edition(hash[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// The likeliest class.
    pub triage: Triage,
    /// Its probability.
    pub confidence: Score,
    /// Indices into the tactics, likeliest first.
    pub next_tactics: [u8; 3],
    /// A score a candidate.
    pub scores: Box<[(Edition, Score)]>,
    /// The model that gave it.
    pub model: Sym,
}

/// A judgement, with the model that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// What was said.
    pub judgement: Judgement,
    /// By which model.
    pub model: Sym,
}

/// Everything that an earlier run was told.
#[derive(Default)]
pub struct Recall {
    answers: FxHashMap<Question, Recalled>,
    editions: Vec<Edition>,
}

impl Recall {
    /// Nothing yet; playbooks are those that the ranker was loaded with, in their order.
    #[must_use]
    pub fn new(playbooks: impl Iterator<Item = Edition>) -> Recall {
        Recall { answers: FxHashMap::default(), editions: playbooks.collect() }
    }

    /// Remembers an answer; of two to one question, the one with more scores.
    pub fn add(&mut self, question: Question, answer: Recalled) {
        let fuller = |known: &Recalled| known.scores.len() >= answer.scores.len();
        if !self.answers.get(&question).is_some_and(fuller) {
            self.answers.insert(question, answer);
        }
    }

    /// An opinion on each case, in their order; `model` is the ranker's own.
    pub fn judge(&self, cases: &[(IncidentId, Case)], ranker: &mut Ranker, model: Sym) -> Vec<Opinion> {
        let known: Vec<Option<Opinion>> =
            cases.iter().map(|(incident, case)| self.known(*incident, case)).collect();
        let open = cases.iter().zip(&known).filter(|(_, known)| known.is_none());
        let open: Vec<Case> = open.map(|((_, case), _)| case.clone()).collect();
        let mut said = ranker.judge(&open).into_iter();
        let each = cases.iter().zip(known);
        let opinion = |((incident, case), known): (&(IncidentId, Case), Option<Opinion>)| match known {
            Some(opinion) => Some(opinion),
            None => Some(Opinion { judgement: self.completed(*incident, case, said.next()?), model }),
        };
        each.filter_map(opinion).collect()
    }

    /// What is known of a case as a whole.
    fn known(&self, incident: IncidentId, case: &Case) -> Option<Opinion> {
        let recalled = self.answers.get(&Question::on(incident, &case.features))?;
        let scores = case.playbooks.iter().map(|at| self.score(recalled, *at)).collect::<Option<Vec<_>>>()?;
        let &Recalled { triage, confidence, next_tactics, model, .. } = recalled;
        Some(Opinion { judgement: Judgement { triage, confidence, next_tactics, scores }, model })
    }

    /// What is known of it in part stands; the rest is as the model says now.
    fn completed(&self, incident: IncidentId, case: &Case, mut said: Judgement) -> Judgement {
        let Some(recalled) = self.answers.get(&Question::on(incident, &case.features)) else { return said };
        for (at, score) in case.playbooks.iter().zip(&mut said.scores) {
            *score = self.score(recalled, *at).unwrap_or(*score);
        }
        let &Recalled { triage, confidence, next_tactics, .. } = recalled;
        Judgement { triage, confidence, next_tactics, scores: said.scores }
    }

    fn score(&self, recalled: &Recalled, playbook: u16) -> Option<Score> {
        let edition = self.editions.get(usize::from(playbook))?;
        recalled.scores.iter().find(|(known, _)| known == edition).map(|(_, score)| *score)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rank::PlaybookTraits;
    use crate::record::Names;
    use crate::record::features::{NUMERIC, TOKENS};

    #[test]
    fn what_did_not_exist_then_is_asked() {
        let (names, traits) = (Names::default(), PlaybookTraits::of(&[], &[], &[], 0));
        let [then, now] = ["then", "now"].map(|name| names.intern(name));
        let mut recall = Recall::new([7, 8].map(Edition).into_iter());
        let features = Features { numeric: [0.9; NUMERIC.len()], tokens: [0; TOKENS], history: [0; 3] };
        let [known, new] = [b"i", b"j"].map(|id| IncidentId::of(&[id]));
        let said = Recalled {
            triage: Triage::FalsePositive,
            confidence: Score(77),
            next_tactics: [5, 6, 7],
            scores: [(Edition(8), Score(42))].into(),
            model: then,
        };
        recall.add(Question::on(known, &features), said);
        let case =
            |playbooks: &[u16]| Case { features: Arc::new(features.clone()), playbooks: playbooks.into() };
        let cases = [(known, case(&[1])), (new, case(&[1])), (known, case(&[0, 1]))];
        let mut ranker = Ranker::untrained(&[traits.clone(), traits]);
        let opinions = recall.judge(&cases, &mut ranker, now);
        let told = |at: usize| {
            let Opinion { judgement, model } = &opinions[at];
            (judgement.triage, judgement.confidence.0, judgement.scores.clone(), *model)
        };
        assert_eq!(told(0), (Triage::FalsePositive, 77, vec![Score(42)], then));
        assert_eq!(told(1), (Triage::TruePositive, 0, vec![Score(5_000)], now));
        assert_eq!(told(2), (Triage::FalsePositive, 77, vec![Score(5_000), Score(42)], now));
    }
}
