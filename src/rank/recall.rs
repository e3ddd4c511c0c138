//! Recall: what a model said before is said again, and the model is asked for the rest.
//!
//! In: an earlier run's answers, by what was asked. Out: judgements, each with the model that it is of.
//! State: an entry a judged version, of some 50 bytes and 16 a candidate; they live as long as the replay. An answer is found
//! by the model that was in force, where several answered, and only by the incident and all that the model saw of it; a candidate only by its playbook as it was then: under another plan
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
    /// The model that was in force first, where that is known.
    pub began: Option<Sym>,
    answers: FxHashMap<Question, Recalled>,
    /// What other models said to questions that were answered before.
    others: FxHashMap<(Question, Sym), Recalled>,
    editions: Vec<Edition>,
}

impl Recall {
    /// Nothing yet; playbooks are those that the ranker was loaded with, in their order.
    #[must_use]
    pub fn new(playbooks: impl Iterator<Item = Edition>) -> Recall {
        Recall { editions: playbooks.collect(), ..Recall::default() }
    }

    /// Remembers an answer; of two of one model to one question, the one with more scores.
    pub fn add(&mut self, question: Question, answer: Recalled) {
        let fuller = |known: &Recalled| known.scores.len() >= answer.scores.len();
        let other = (question, answer.model);
        match self.answers.get(&question) {
            Some(known) if known.model != answer.model => {
                if !self.others.get(&other).is_some_and(fuller) {
                    self.others.insert(other, answer);
                }
            }
            Some(known) if fuller(known) => {}
            Some(_) | None => drop(self.answers.insert(question, answer)),
        }
    }

    /// An opinion on each case, in their order; `model` is the ranker's own, and `in_force` the one that was asked then.
    pub fn judge(
        &self,
        cases: &[(IncidentId, Case)],
        ranker: &mut Ranker,
        (model, in_force): (Sym, Sym),
    ) -> Vec<Opinion> {
        let said = |(incident, case): &(IncidentId, Case)| {
            self.said(Question::on(*incident, &case.features), in_force)
        };
        let recalled: Vec<Option<&Recalled>> = cases.iter().map(said).collect();
        let known = cases.iter().zip(&recalled).map(|((_, case), recalled)| self.known((*recalled)?, case));
        let known: Vec<Option<Opinion>> = known.collect();
        let open = cases.iter().zip(&known).filter(|(_, known)| known.is_none());
        let open: Vec<Case> = open.map(|((_, case), _)| case.clone()).collect();
        let mut said = ranker.judge(&open).into_iter();
        let each = cases.iter().zip(recalled).zip(known);
        let opinion =
            |(((_, case), recalled), known): ((&(IncidentId, Case), _), Option<Opinion>)| match known {
                Some(opinion) => Some(opinion),
                None => Some(Opinion { judgement: self.completed(recalled, case, said.next()?), model }),
            };
        each.filter_map(opinion).collect()
    }

    /// What was answered to a question, by the model that was in force where it has answered.
    fn said(&self, question: Question, in_force: Sym) -> Option<&Recalled> {
        let first = self.answers.get(&question)?;
        if first.model == in_force || self.others.is_empty() {
            return Some(first);
        }
        Some(self.others.get(&(question, in_force)).unwrap_or(first))
    }

    /// What is known of a case as a whole.
    fn known(&self, recalled: &Recalled, case: &Case) -> Option<Opinion> {
        let scores = case.playbooks.iter().map(|at| self.score(recalled, *at)).collect::<Option<Vec<_>>>()?;
        let &Recalled { triage, confidence, next_tactics, model, .. } = recalled;
        Some(Opinion { judgement: Judgement { triage, confidence, next_tactics, scores }, model })
    }

    /// What is known of it in part stands; the rest is as the model says now.
    fn completed(&self, recalled: Option<&Recalled>, case: &Case, mut said: Judgement) -> Judgement {
        let Some(recalled) = recalled else { return said };
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
        let opinions = recall.judge(&cases, &mut ranker, (now, then));
        let told = |at: usize| {
            let Opinion { judgement, model } = &opinions[at];
            (judgement.triage, judgement.confidence.0, judgement.scores.clone(), *model)
        };
        assert_eq!(told(0), (Triage::FalsePositive, 77, vec![Score(42)], then));
        assert_eq!(told(1), (Triage::TruePositive, 0, vec![Score(5_000)], now));
        assert_eq!(told(2), (Triage::FalsePositive, 77, vec![Score(5_000), Score(42)], now));
    }
    #[test]
    fn each_model_is_recalled_where_it_was_in_force() {
        let (names, traits) = (Names::default(), PlaybookTraits::of(&[], &[], &[], 0));
        let [first, second, third] = ["first", "second", "third"].map(|name| names.intern(name));
        let mut recall = Recall::new([7].map(Edition).into_iter());
        let features = Features { numeric: [0.9; NUMERIC.len()], tokens: [0; TOKENS], history: [0; 3] };
        let incident = IncidentId::of(&[b"i"]);
        let said = |model, confidence, scores: &[(Edition, Score)]| Recalled {
            triage: Triage::FalsePositive,
            confidence: Score(confidence),
            next_tactics: [5, 6, 7],
            scores: scores.into(),
            model,
        };
        // What was ranked comes first, and what was only triaged after it.
        let scores = [(Edition(7), Score(42))];
        for (model, confidence, scores) in
            [(first, 1, &scores[..]), (second, 2, &scores), (first, 3, &[]), (second, 4, &[])]
        {
            recall.add(Question::on(incident, &features), said(model, confidence, scores));
        }
        let case = Case { features: Arc::new(features), playbooks: vec![0] };
        let mut ranker = Ranker::untrained(&[traits]);
        for (in_force, model, confidence) in [(first, first, 1), (second, second, 2), (third, first, 1)] {
            let opinions = recall.judge(&[(incident, case.clone())], &mut ranker, (third, in_force));
            assert_eq!((opinions[0].model, opinions[0].judgement.confidence), (model, Score(confidence)));
        }
    }
}
