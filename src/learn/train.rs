//! Train: examples -> a model. The same examples and seed give the same weights, bit by bit.
//!
//! Each member of the ensemble has a loss of its own and draws of its own, so the three differ where the data does not decide.
//! The loss is cross-entropy of triage, plus that of each tried playbook's success, plus half that of the next tactics.

use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::prelude::*;
use burn::tensor::activation::{log_sigmoid, log_softmax};

use super::batch::{Batch, fill_as_of, fill_frozen, keep};
use super::calibrate;
use super::dataset::{Example, Parts, Split, part};
use super::evaluate::{Evaluation, Prediction, evaluate, predict};
use super::metrics::cross_entropy;
use crate::rank::Model;
use crate::rank::history::History;
use crate::rank::model::Config;
use crate::rank::network::{Dice, Logits, Member, Network};

/// Labelled rows without which nothing is learned.
pub const LABELLED_MIN: usize = 50;

/// How to train. The defaults are those measured good on 10,000 rows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct TrainConfig {
    /// What all draws come from.
    pub seed: u64,
    /// Turns over the data at most.
    pub turns_max: usize,
    /// Turns without a better validation after which it stops.
    pub patience: usize,
    /// Rows a step.
    pub batch: usize,
    /// Step size of `AdamW` (Loshchilov and Hutter 2019).
    pub rate: f64,
    /// Share of the trunk that a step leaves out.
    pub dropout: f32,
    /// How the examples are parted.
    pub split: Split,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            seed: 1,
            turns_max: 60,
            patience: 6,
            batch: 128,
            rate: 2e-3,
            dropout: 0.1,
            split: Split::Time,
        }
    }
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Too little to learn from.
    #[error(
        "{rows} rows with an analyst's verdict in the part to learn from, {LABELLED_MIN} are needed: give more verdicts \
         (`quell verdict`), or a longer archive"
    )]
    TooFew {
        /// Labelled rows.
        rows: usize,
    },
    /// The loss left the numbers.
    #[error("training diverged in turn {turn}: lower the rate, or look for an outlier in the features")]
    Diverged {
        /// The turn.
        turn: usize,
    },
}

/// A model and how it did.
pub struct Trained {
    /// The model; its version is still empty.
    pub model: Model,
    /// How it did on the newest part, which it had not seen.
    pub test: Evaluation,
    /// Rows to learn from, to stop by, to test on.
    pub rows: [usize; 3],
    /// Turns over the data.
    pub turns: usize,
}

/// Learns from `examples`; their history columns are filled in here, as they stood at each row's time.
pub fn train(examples: Vec<Example>, config: &TrainConfig) -> Result<Trained, TrainError> {
    train_told(examples, config, &mut |_| ())
}

/// The same; `told` hears of each turn over the data as it ends.
pub fn train_told(
    examples: Vec<Example>,
    config: &TrainConfig,
    told: &mut dyn FnMut(usize),
) -> Result<Trained, TrainError> {
    let Parts { mut train, mut valid, mut test } = part(examples, config.split);
    let labelled = train.iter().filter(|example| example.triage.is_some()).count();
    if labelled < LABELLED_MIN {
        return Err(TrainError::TooFew { rows: labelled });
    }
    let history = fill_as_of(&mut train, History::default());
    fill_frozen(&mut valid, &history);
    let (network, turns) = fit(&train, &valid, config, told)?;
    let temperature = calibrate::temperature(&network, &valid);
    let version = |history, temperature| Model {
        version: String::new(),
        hash: String::new(),
        network: network.clone(),
        history,
        config: Config::new(config.seed, temperature),
    };
    let rows = [train.len(), valid.len(), test.len()];
    fill_frozen(&mut test, &history);
    // The test is of the model as it would have been in service then; what is shipped knows all verdicts.
    let evaluation = evaluate(&version(history.clone(), temperature), &test);
    let shipped = fill_as_of(&mut test, fill_as_of(&mut valid, history));
    Ok(Trained { model: version(shipped, temperature), test: evaluation, rows, turns })
}

fn fit(
    train: &[Example],
    valid: &[Example],
    config: &TrainConfig,
    told: &mut dyn FnMut(usize),
) -> Result<(Network, usize), TrainError> {
    let device = Device::flex().autodiff();
    let mut network = Network::drawn(config.seed, &Device::flex()).train();
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-3).init();
    let mut dice = Dice(config.seed ^ 0x7472_6169_6e00);
    let mut order: Vec<usize> = (0..train.len()).collect();
    let (mut best, mut best_loss, mut best_turn) = (network.valid(), f64::INFINITY, 0);
    for turn in 1..=config.turns_max {
        shuffle(&mut order, &mut dice);
        for chosen in order.chunks(config.batch) {
            let examples: Vec<&Example> = chosen.iter().map(|at| &train[*at]).collect();
            let batch = Batch::of(&examples, &device);
            network = step(network, &mut optimizer, &batch, config, &mut dice, &device);
        }
        told(turn);
        let served = network.valid();
        if !served.is_finite() {
            return Err(TrainError::Diverged { turn });
        }
        // Without a row to stop by, the last turn is the best.
        let loss = if valid.is_empty() { -(turn as f64) } else { loss_of(&served, valid) };
        if loss < best_loss {
            (best, best_loss, best_turn) = (served, loss, turn);
        }
        if turn - best_turn >= config.patience {
            break;
        }
    }
    Ok((best, best_turn))
}

fn shuffle(order: &mut [usize], dice: &mut Dice) {
    for at in (1..order.len()).rev() {
        order.swap(at, dice.below(at + 1));
    }
}

fn step(
    network: Network,
    optimizer: &mut ModuleOptimizer,
    batch: &Batch,
    config: &TrainConfig,
    dice: &mut Dice,
    device: &Device,
) -> Network {
    let rows = batch.rows.dims()[0];
    let keeps = network.members().iter().map(|_| keep(rows, config.dropout, dice, device)).collect();
    let logits = network.forward(&batch.rows, Some(keeps));
    let losses = network.members().iter().zip(logits).map(|(member, logits)| loss(member, logits, batch));
    let total = losses.reduce(|sum, loss| sum + loss).expect("a network has members");
    let gradients = GradientsParams::from_grads(total.backward(), &network);
    optimizer.step(config.rate, network, gradients)
}

fn loss(member: &Member, logits: Logits, batch: &Batch) -> Tensor<1> {
    let mean = |log: Tensor<2>, weights: &Tensor<2>| {
        let weight = weights.clone().sum().clamp_min(1e-6);
        (log * weights.clone()).sum() / weight
    };
    let triage = mean(log_softmax(logits.triage, 1), &batch.triage);
    let next = mean(log_softmax(logits.next, 1), &batch.next);
    let known = triage + next * 0.5;
    let Some(tried) = &batch.tried else { return -known };
    let playbooks = member.playbooks(tried.traits.clone());
    let logit = (logits.incident.select(0, tried.row.clone()) * playbooks).sum_dim(1);
    let both = Tensor::cat(vec![log_sigmoid(logit.clone()), log_sigmoid(-logit)], 1);
    -(known + mean(both, &tried.success))
}

/// What the ensemble loses on examples, as the training counts it.
fn loss_of(network: &Network, examples: &[Example]) -> f64 {
    let predictions = predict(network, examples);
    let mut sums = [(0.0, 0.0); 3];
    let mut add = |at: usize, weight: f64, loss: f64| {
        sums[at].0 += weight * loss;
        sums[at].1 += weight;
    };
    for (example, Prediction { triage, next, success }) in examples.iter().zip(&predictions) {
        let weight = f64::from(example.weight);
        if let Some(class) = example.triage {
            add(0, weight, cross_entropy(triage, class as usize));
        }
        if let Some(tactics) = example.next {
            let each = weight / f64::from(tactics.0.count_ones().max(1));
            for tactic in (0..next.len()).filter(|tactic| tactics.0 >> tactic & 1 == 1) {
                add(1, each, cross_entropy(next, tactic));
            }
        }
        for ((_, did), logit) in example.success.iter().zip(success) {
            add(2, weight, cross_entropy(&[0.0, *logit], usize::from(*did)));
        }
    }
    let [triage, next, success] = sums.map(|(sum, weight): (f64, f64)| sum / weight.max(1e-6));
    triage + 0.5 * next + success
}
