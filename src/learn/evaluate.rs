//! Evaluate: how a model does on examples that it has not seen, beside what does without a model, and slice by slice: an
//! average hides the detector that it fails on.

use std::collections::BTreeMap;

use burn::prelude::*;
use serde::Serialize;

use super::dataset::Example;
use super::metrics::{accuracy, auc, calibration_error, macro_f1, mean};
use crate::rank::network::{NEXT, Network, TRIAGES, WIDTH, pack};
use crate::rank::ranker::{most, sigmoid, softmax, triage_of_severity};
use crate::rank::traits::TRAITS;
use crate::rank::{Model, PlaybookTraits};
use crate::record::Triage;

/// Confidence above which a case counts as one that could run by itself.
const CONFIDENT: f64 = 0.9;

/// Logits of one example.
pub struct Prediction {
    /// Of the three classes.
    pub triage: Vec<f32>,
    /// Of the fourteen tactics.
    pub next: Vec<f32>,
    /// Of each playbook that was tried on it.
    pub success: Vec<f32>,
}

/// How it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows with an analyst's verdict.
    pub rows: usize,
    /// Mean F1 of the three classes.
    pub macro_f1: f64,
    /// Share of right classes.
    pub accuracy: f64,
    /// Expected calibration error of the confidence as served.
    pub calibration_error: f64,
    /// Share of rows at a confidence of .9 or more.
    pub confident_share: f64,
    /// Share of right classes among these.
    pub confident_accuracy: f64,
    /// What the commonest class alone would do.
    pub majority: Baseline,
    /// What a rule on the severity alone would do: high is an attack, medium harmless, less a false alarm.
    pub severity: Baseline,
    /// How playbooks are ranked.
    pub playbooks: Playbooks,
    /// Share of the tactics that came which are among the three told.
    pub next_top3: Option<f64>,
    /// Recall of true positives by slice, for slices with at least one.
    pub slices: Vec<Slice>,
}

/// How something without a model does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Baseline {
    /// Mean F1 of the three classes.
    pub macro_f1: f64,
    /// Share of right classes.
    pub accuracy: f64,
}

/// How playbooks are ranked.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Playbooks {
    /// Pairs of a row and a playbook that was tried.
    pub pairs: usize,
    /// The probability that a success is scored above a failure.
    pub auc: Option<f64>,
    /// Expected calibration error of the scores.
    pub calibration_error: f64,
    /// Rows on which several were tried, with different success.
    pub contested: usize,
    /// Share of these on which the one scored best failed.
    pub regret: f64,
}

/// Recall of true positives within a slice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// `tenant`, `detector` or `use_case`.
    pub by: &'static str,
    /// Its name.
    pub name: String,
    /// True positives in it.
    pub positives: usize,
    /// Share of these that the model calls so.
    pub recall: f64,
}

/// The logits of examples whose history columns are filled in.
#[must_use]
pub fn predict(network: &Network, examples: &[Example]) -> Vec<Prediction> {
    const ROWS: usize = 128;
    let device = Device::flex();
    let mut index: BTreeMap<[u32; TRAITS], usize> = BTreeMap::new();
    let mut traits: Vec<PlaybookTraits> = vec![PlaybookTraits::of(&[], &[], &[], 0)];
    let mut of = |playbook: &PlaybookTraits| {
        *index.entry(playbook.values.map(f32::to_bits)).or_insert_with(|| {
            traits.push(playbook.clone());
            traits.len() - 1
        })
    };
    let tried: Vec<Vec<usize>> = examples
        .iter()
        .map(|example| example.success.iter().map(|(playbook, _)| of(playbook)).collect())
        .collect();
    let playbooks = network.playbooks(&traits, &device);
    let mut predictions = Vec::with_capacity(examples.len());
    for (examples, tried) in examples.chunks(ROWS).zip(tried.chunks(ROWS)) {
        let mut rows = Vec::with_capacity(ROWS * WIDTH);
        for example in examples {
            pack(&example.features, &mut rows);
        }
        let rows = Tensor::from_data(TensorData::new(rows, [examples.len(), WIDTH]), &device);
        let output = network.judge(&rows, &playbooks).into_data();
        let logits = output.as_slice::<f32>().expect("the network computes in f32");
        for (row, tried) in logits.chunks_exact(TRIAGES + NEXT + traits.len()).zip(tried) {
            predictions.push(Prediction {
                triage: row[..TRIAGES].to_vec(),
                next: row[TRIAGES..TRIAGES + NEXT].to_vec(),
                success: tried.iter().map(|at| row[TRIAGES + NEXT + at]).collect(),
            });
        }
    }
    predictions
}

/// How `model` does on `examples`; history columns are filled in from the model's own history, as in service.
#[must_use]
pub fn evaluate(model: &Model, examples: &[Example]) -> Evaluation {
    let filled: Vec<Example> = examples
        .iter()
        .map(|example| Example { features: model.history.fill(&example.features), ..example.clone() })
        .collect();
    let predictions = predict(&model.network, &filled);
    let mut said: Vec<(&Example, usize, f64)> = Vec::new();
    for (example, prediction) in
        filled.iter().zip(&predictions).filter(|(example, _)| example.triage.is_some())
    {
        // As in service: of what it has no verdict on it says what the severity says, and believes nothing.
        if !model.history.knows(&example.features) {
            said.push((example, triage_of_severity(&example.features) as usize, 0.0));
            continue;
        }
        let probabilities = softmax(&prediction.triage, f64::from(model.config.temperature));
        let class = most(&probabilities);
        let believed = probabilities[class].min(model.history.confidence_max(&example.features));
        said.push((example, class, believed));
    }
    let truth = |example: &Example| example.triage.map_or(0, |triage| triage as usize);
    let pairs: Vec<(usize, usize)> =
        said.iter().map(|(example, class, _)| (*class, truth(example))).collect();
    let told: Vec<(f64, bool)> =
        said.iter().map(|(example, class, believed)| (*believed, *class == truth(example))).collect();
    let confident: Vec<f64> = told
        .iter()
        .filter(|(confidence, _)| *confidence >= CONFIDENT)
        .map(|(_, right)| f64::from(u8::from(*right)))
        .collect();
    let classes: Vec<usize> = pairs.iter().map(|(_, is)| *is).collect();
    let common =
        (0..TRIAGES).max_by_key(|class| classes.iter().filter(|is| *is == class).count()).unwrap_or(0);
    let baseline = |says: &dyn Fn(&Example) -> usize| {
        let pairs: Vec<(usize, usize)> =
            said.iter().map(|(example, ..)| (says(example), truth(example))).collect();
        Baseline { macro_f1: macro_f1(&pairs, TRIAGES), accuracy: accuracy(&pairs) }
    };
    Evaluation {
        rows: pairs.len(),
        macro_f1: macro_f1(&pairs, TRIAGES),
        accuracy: accuracy(&pairs),
        calibration_error: calibration_error(&told),
        confident_share: confident.len() as f64 / (told.len() as f64).max(1.0),
        confident_accuracy: mean(&confident),
        majority: baseline(&|_| common),
        severity: baseline(&|example| triage_of_severity(&example.features) as usize),
        playbooks: playbooks(&filled, &predictions),
        next_top3: next_top3(&filled, &predictions),
        slices: slices(&said),
    }
}

fn playbooks(examples: &[Example], predictions: &[Prediction]) -> Playbooks {
    let mut scored: Vec<(f64, bool)> = Vec::new();
    let (mut contested, mut failed) = (0, 0);
    for (example, prediction) in examples.iter().zip(predictions) {
        let row: Vec<(f64, bool)> = example
            .success
            .iter()
            .zip(&prediction.success)
            .map(|((_, did), logit)| (sigmoid(*logit), *did))
            .collect();
        if row.iter().any(|(_, did)| *did) && row.iter().any(|(_, did)| !*did) {
            contested += 1;
            let best = most(&row.iter().map(|(score, _)| *score).collect::<Vec<_>>());
            failed += usize::from(!row[best].1);
        }
        scored.extend(row);
    }
    let regret = f64::from(u32::try_from(failed).unwrap_or(u32::MAX)) / (contested as f64).max(1.0);
    // A score of .2 that fails is right: what it says is `probability of success`, so bins are of that.
    let calibration_error = calibration_error(&scored);
    Playbooks { pairs: scored.len(), auc: auc(&scored), calibration_error, contested, regret }
}

fn next_top3(examples: &[Example], predictions: &[Prediction]) -> Option<f64> {
    let mut hits: Vec<f64> = Vec::new();
    for (example, prediction) in examples.iter().zip(predictions) {
        let Some(tactics) = example.next else { continue };
        let mut order: Vec<usize> = (0..NEXT).collect();
        order.sort_by(|a, b| prediction.next[*b].total_cmp(&prediction.next[*a]));
        for tactic in (0..NEXT).filter(|tactic| tactics.0 >> tactic & 1 == 1) {
            hits.push(f64::from(u8::from(order[..3].contains(&tactic))));
        }
    }
    (!hits.is_empty()).then(|| mean(&hits))
}

fn slices(said: &[(&Example, usize, f64)]) -> Vec<Slice> {
    let mut found: BTreeMap<(&'static str, &str), (usize, usize)> = BTreeMap::new();
    for (example, class, _) in
        said.iter().filter(|(example, ..)| example.triage == Some(Triage::TruePositive))
    {
        let keys = &example.slices;
        for (by, name) in
            [("tenant", &keys.tenant), ("detector", &keys.detector), ("use_case", &keys.use_case)]
        {
            let (positives, hits) = found.entry((by, name)).or_default();
            *positives += 1;
            *hits += usize::from(*class == Triage::TruePositive as usize);
        }
    }
    let slice = |((by, name), (positives, hits)): ((&'static str, &str), (usize, usize))| Slice {
        by,
        name: name.to_owned(),
        positives,
        recall: hits as f64 / positives as f64,
    };
    found.into_iter().filter(|((_, name), _)| !name.is_empty()).map(slice).collect()
}
