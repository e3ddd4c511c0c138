//! Ranker: cases -> judgements, in batches of one fixed shape.
//!
//! In: the features of an incident's version and the playbooks proposed for it. Out: triage with its confidence, the three
//! likeliest next tactics, a score for each playbook: integers, the same at any place in any batch.
//! State: a memo of at most [`MEMO_MAX`] answers, emptied when it is full: it saves time and never changes an answer.

use std::path::Path;
use std::sync::Arc;

use burn::prelude::*;
use rustc_hash::FxHashMap;

use super::device::{self, Placed};
use super::history::History;
use super::model::{Model, ModelError};
use super::network::{NEXT, TRIAGES, WIDTH, pack};
use super::traits::PlaybookTraits;
use crate::record::attack::TACTICS;
use crate::record::{Features, Judgement, Score, Triage};

/// Answers that are remembered.
pub const MEMO_MAX: usize = 65_536;

/// What is asked of one version of an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What the model sees of it.
    pub features: Arc<Features>,
    /// The playbooks proposed, as indices into those that the ranker was loaded with.
    pub playbooks: Vec<u16>,
}

/// A model that answers, or the rules that stand in where the plan names none.
pub struct Ranker {
    judge: Judge,
    playbooks: usize,
    memo: FxHashMap<[u8; 32], Judgement>,
}

enum Judge {
    Untrained,
    Trained(Box<Trained>),
}

struct Trained {
    placed: Placed,
    playbooks: Vec<Tensor<2>>,
    history: History,
    temperature: f64,
    version: String,
    hash: String,
}

impl Ranker {
    /// The ranker of a registry (`models/ranker`): of `version`, or of the promoted one, for playbooks of these traits.
    pub fn load(
        registry: &Path,
        version: Option<&str>,
        playbooks: &[PlaybookTraits],
    ) -> Result<Ranker, ModelError> {
        Ok(Ranker::of(Model::load(registry, version)?, playbooks))
    }

    /// The ranker of a model in memory.
    #[must_use]
    pub fn of(model: Model, playbooks: &[PlaybookTraits]) -> Ranker {
        let placed = device::place(model.network);
        // A tensor without rows is a shape that not every backend takes: with no playbook, one is scored that nobody reads.
        let nothing = [PlaybookTraits::of(&[], &[], &[], 0)];
        let traits = if playbooks.is_empty() { &nothing } else { playbooks };
        let trained = Trained {
            playbooks: placed.network.playbooks(traits, &placed.device),
            placed,
            history: model.history,
            temperature: f64::from(model.config.temperature),
            version: model.version,
            hash: model.hash,
        };
        // A GPU compiles its kernels for a shape when it first meets it: now, not under the first incident.
        let _ = trained.ask(std::iter::empty());
        let judge = Judge::Trained(Box::new(trained));
        Ranker { judge, playbooks: playbooks.len(), memo: FxHashMap::default() }
    }

    /// The ranker of a plan that names no model. It pretends nothing: severity high and above is called an attack, medium
    /// wanted or harmless, less a false alarm, each with confidence 0, and every playbook scores one half. So under any floor
    /// of confidence nothing runs by itself, and what a person is asked about is up to the floor of escalation.
    #[must_use]
    pub fn untrained(playbooks: &[PlaybookTraits]) -> Ranker {
        Ranker { judge: Judge::Untrained, playbooks: playbooks.len(), memo: FxHashMap::default() }
    }

    /// The model's version and hash, as decisions name it; `untrained` where there is none.
    #[must_use]
    pub fn version(&self) -> String {
        match &self.judge {
            Judge::Untrained => "untrained".to_owned(),
            Judge::Trained(trained) => format!("{}:{:.16}", trained.version, trained.hash),
        }
    }

    /// Where it ranks and why there, in a sentence.
    #[must_use]
    pub fn note(&self) -> &str {
        match &self.judge {
            Judge::Untrained => "no model: triage by severity, confidence 0, nothing runs by itself",
            Judge::Trained(trained) => &trained.placed.note,
        }
    }

    /// A judgement for each case, in their order.
    ///
    /// # Panics
    /// Panics where a case names a playbook that the ranker was not loaded with: the plan's mistake, never the data's.
    pub fn judge(&mut self, cases: &[Case]) -> Vec<Judgement> {
        for case in cases {
            assert!(
                case.playbooks.iter().all(|at| usize::from(*at) < self.playbooks),
                "a case names a playbook that the ranker was not loaded with"
            );
        }
        match &self.judge {
            Judge::Untrained => cases.iter().map(by_severity).collect(),
            Judge::Trained(trained) => remembered(trained, &mut self.memo, cases),
        }
    }
}

fn by_severity(case: &Case) -> Judgement {
    let scores = vec![Score::of(0.5); case.playbooks.len()];
    Judgement {
        triage: triage_of_severity(&case.features),
        confidence: Score(0),
        next_tactics: [0, 1, 2],
        scores,
    }
}

/// What the severity alone says: high and above an attack, medium wanted or harmless, less a false alarm.
#[must_use]
pub fn triage_of_severity(features: &Features) -> Triage {
    // The column is `severity_max`: OCSF's id over 6, so high is 4/6 and medium 3/6.
    match features.numeric[3] {
        severity if severity > 0.6 => Triage::TruePositive,
        severity if severity > 0.4 => Triage::BenignPositive,
        _ => Triage::FalsePositive,
    }
}

fn remembered(
    trained: &Trained,
    memo: &mut FxHashMap<[u8; 32], Judgement>,
    cases: &[Case],
) -> Vec<Judgement> {
    // What a model says of rules or a tenant that it has no verdict on is not believed: "no attack" would then be no more
    // than a guess that nobody is asked about. So it is not asked.
    let asks = |case: &Case| trained.history.knows(&case.features).then(|| key(case));
    let keys: Vec<Option<[u8; 32]>> = cases.iter().map(asks).collect();
    let mut answers: FxHashMap<[u8; 32], Option<Judgement>> = FxHashMap::default();
    let mut asked: Vec<(usize, [u8; 32])> = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let Some(key) = key else { continue };
        answers.entry(*key).or_insert_with(|| {
            let known = memo.get(key).cloned();
            if known.is_none() {
                asked.push((at, *key));
            }
            known
        });
    }
    for batch in asked.chunks(trained.placed.rows) {
        for ((_, key), judgement) in batch.iter().zip(trained.ask(batch.iter().map(|(at, _)| &cases[*at]))) {
            if memo.len() >= MEMO_MAX {
                memo.clear();
            }
            memo.insert(*key, judgement.clone());
            answers.insert(*key, Some(judgement));
        }
    }
    let answer = |(case, key): (&Case, Option<[u8; 32]>)| match key {
        Some(key) => answers[&key].clone().expect("every key was remembered or asked"),
        None => by_severity(case),
    };
    cases.iter().zip(keys).map(answer).collect()
}

/// All that an answer depends on, beside the model.
fn key(case: &Case) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(512);
    let Features { numeric, tokens, history } = &*case.features;
    bytes.extend(numeric.iter().flat_map(|value| value.to_bits().to_le_bytes()));
    bytes.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
    bytes.extend(history.iter().flat_map(|key| key.to_le_bytes()));
    bytes.extend(case.playbooks.iter().flat_map(|at| at.to_le_bytes()));
    *blake3::hash(&bytes).as_bytes()
}

impl Trained {
    /// At most one batch of cases; what is missing of a batch is padded with zeros.
    fn ask<'a>(&self, cases: impl Iterator<Item = &'a Case> + Clone) -> Vec<Judgement> {
        let rows = self.placed.rows;
        let mut input = Vec::with_capacity(rows * WIDTH);
        for case in cases.clone() {
            pack(&self.history.fill(&case.features), &mut input);
        }
        input.resize(rows * WIDTH, 0.0);
        let input = Tensor::from_data(TensorData::new(input, [rows, WIDTH]), &self.placed.device);
        let output = self.placed.network.judge(&input, &self.playbooks).into_data();
        let logits = output.as_slice::<f32>().expect("the network computes in f32");
        cases.zip(logits.chunks_exact(logits.len() / rows)).map(|(case, row)| self.read(case, row)).collect()
    }

    fn read(&self, case: &Case, logits: &[f32]) -> Judgement {
        // A maximum swallows what is no number, so the logits of such a row look like any others: it is not believed at all.
        if !case.features.numeric.iter().chain(logits).all(|value| value.is_finite()) {
            return by_severity(case);
        }
        let (triage, rest) = logits.split_at(TRIAGES);
        let (next, success) = rest.split_at(NEXT);
        let probabilities = softmax(triage, self.temperature);
        let class = most(&probabilities);
        let believed = probabilities[class].min(self.history.confidence_max(&case.features));
        let mut order: [u8; NEXT] = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
        order.sort_by(|a, b| next[usize::from(*b)].total_cmp(&next[usize::from(*a)]));
        Judgement {
            triage: Triage::ALL[class],
            confidence: score(believed),
            next_tactics: [order[0], order[1], order[2]],
            scores: case.playbooks.iter().map(|at| score(sigmoid(success[usize::from(*at)]))).collect(),
        }
    }
}

const _: () = assert!(TRIAGES == Triage::ALL.len() && TACTICS.len() <= u8::MAX as usize);

/// Probabilities of logits, in f64 and one by one: no vector unit's exponential, whose last bit depends on the place.
#[must_use]
pub fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (f64::from(logit - most) / temperature).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The probability of a logit.
#[must_use]
pub fn sigmoid(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Where the greatest lies; the first of equals.
#[must_use]
pub fn most(values: &[f64]) -> usize {
    values.iter().enumerate().fold(0, |best, (at, value)| if *value > values[best] { at } else { best })
}

fn score(probability: f64) -> Score {
    #[expect(clippy::cast_possible_truncation, reason = "a probability, to be rounded to four places")]
    Score::of(probability as f32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rank::network::{Dice, Network};
    use crate::record::features::{BUCKETS, HISTORY, TOKENS};
    use crate::record::{EntityKind, Verb};

    fn playbooks() -> Vec<PlaybookTraits> {
        let of = |verb, kind, impact| PlaybookTraits::of(&[verb], &[kind], &[], impact);
        vec![
            of(Verb::Contain, EntityKind::Host, 60),
            of(Verb::Deny, EntityKind::Ip, 20),
            of(Verb::Set, EntityKind::User, 40),
        ]
    }

    /// A case drawn from `seed`, and the history that knows half of such cases.
    fn case(seed: u64) -> Case {
        let mut dice = Dice(seed);
        let mut features = Features {
            numeric: std::array::from_fn(|_| dice.unit()),
            tokens: [0; TOKENS],
            history: [u32::try_from(seed % 64).unwrap_or(0), 100, 1000],
        };
        features.numeric[HISTORY..].fill(0.0);
        for at in 0..dice.below(TOKENS) {
            features.tokens[at] = u16::try_from(1 + dice.below(usize::from(BUCKETS) - 1)).unwrap_or(1);
        }
        Case {
            features: Arc::new(features),
            playbooks: [2, 0, 1].into_iter().take(usize::try_from(seed % 4).unwrap_or(0)).collect(),
        }
    }

    fn ranker() -> Ranker {
        let mut history = History::default();
        for seed in 0..400 {
            history.add(&case(seed % 32).features, Triage::ALL[usize::try_from(seed % 3).unwrap_or(0)]);
        }
        Ranker::of(Model::drawn(7, history), &playbooks())
    }

    #[test]
    fn a_row_is_judged_alike_at_any_place_in_any_batch() {
        let alone: Vec<Judgement> = (0..64).flat_map(|seed| ranker().judge(&[case(seed)])).collect();
        assert!(alone.iter().any(|judgement| judgement.triage != alone[0].triage), "the rows must differ");
        proptest!(ProptestConfig::with_cases(64), |(seeds in prop::collection::vec(0usize..64, 1..200))| {
            let cases: Vec<Case> = seeds.iter().map(|seed| case(*seed as u64)).collect();
            let expected: Vec<Judgement> = seeds.iter().map(|seed| alone[*seed].clone()).collect();
            prop_assert_eq!(ranker().judge(&cases), expected);
        });
    }

    #[test]
    fn logits_are_bit_equal_at_any_place() {
        let network = Network::drawn(3, &Device::flex());
        let playbooks = network.playbooks(&playbooks(), &Device::flex());
        let rows: Vec<Vec<f32>> = (0..32)
            .map(|seed| {
                let mut row = Vec::new();
                pack(&case(seed).features, &mut row);
                row
            })
            .collect();
        let judge = |order: &[usize]| {
            let input: Vec<f32> = order.iter().flat_map(|at| rows[*at].clone()).collect();
            let input = Tensor::from_data(TensorData::new(input, [32, WIDTH]), &Device::flex());
            network.judge(&input, &playbooks).into_data().try_to_vec::<f32>().expect("f32")
        };
        let straight: Vec<usize> = (0..32).collect();
        let expected = judge(&straight);
        let width = expected.len() / 32;
        for turn in 1..32 {
            let order: Vec<usize> = straight.iter().map(|at| (at * 5 + turn) % 32).collect();
            let turned = judge(&order);
            for (place, at) in order.iter().enumerate() {
                let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                let (here, there) = (&turned[place * width..][..width], &expected[at * width..][..width]);
                assert_eq!(bits(here), bits(there), "row {at} at place {place}");
            }
        }
    }

    #[test]
    fn the_memo_changes_no_answer() {
        let mut ranker = ranker();
        let cases: Vec<Case> = (0..40).map(case).collect();
        let first = ranker.judge(&cases);
        assert_eq!(ranker.memo.len(), 32);
        assert_eq!(ranker.judge(&cases), first);
        ranker.memo.clear();
        assert_eq!(ranker.judge(&cases), first);
    }

    #[test]
    fn nothing_unknown_is_believed() {
        let judgements = ranker().judge(&(0..64).map(case).collect::<Vec<_>>());
        for (seed, judgement) in (0..64).zip(&judgements).skip(32) {
            assert_eq!(*judgement, by_severity(&case(seed)), "{seed}: as without a model");
        }
        let mut broken = case(3);
        Arc::make_mut(&mut broken.features).numeric[5] = f32::NAN;
        assert_eq!(ranker().judge(&[case(2), broken])[1].confidence, Score(0));
        let guessed = Ranker::untrained(&playbooks()).judge(&[case(3)]);
        assert_eq!((guessed[0].confidence, guessed[0].scores.len()), (Score(0), 3));
    }
}
