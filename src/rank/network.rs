//! The network: three members of one shape, about 38,000 parameters each, whose logits are averaged.
//!
//! In: rows of [`WIDTH`] numbers (numeric features, then tokens as whole numbers), one buffer a batch. Out: rows of logits:
//! 3 of triage, 14 of next tactics, then one for each playbook, one buffer a batch.
//!
//! ```text
//! tokens -> embedding 2048 x 8 -> mean and max -+
//! numeric --------------------------------------+-> 128 -> 64 -+-> triage 3
//!                                                              +-> next tactic 14
//! playbook traits -> 32 -> 16 ------------------- dot 16 <-----+-> success
//! ```
//!
//! Only sums, products, maxima, a square root and a division are taken, each row by itself: no operation's result depends on
//! where in a batch a row lies. Softmax and sigmoid are left to the reader of the logits.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::activation::relu;

use super::traits::{PlaybookTraits, TRAITS};
use crate::record::Features;
use crate::record::attack::TACTICS;
use crate::record::features::{BUCKETS, NUMERIC, TOKENS};

/// Members of the ensemble.
pub const MEMBERS: usize = 3;
/// Numbers in a row of input.
pub const WIDTH: usize = NUMERIC.len() + TOKENS;
/// Classes of triage.
pub const TRIAGES: usize = 3;
/// Tactics that may come next.
pub const NEXT: usize = TACTICS.len();
/// Width of the trunk's two layers.
pub const TRUNK: [usize; 2] = [128, 64];

const EMBEDDING: usize = 8;
const MATCH: usize = 16;
const PLAYBOOK: usize = 32;

/// The ensemble.
#[derive(Module, Debug)]
pub struct Network {
    /// Eight columns for each member, side by side: looked up once for all of them.
    names: Embedding,
    members: Vec<Member>,
}

/// One member.
#[derive(Module, Debug)]
pub struct Member {
    wide: Linear,
    wide_norm: LayerNorm,
    deep: Linear,
    deep_norm: LayerNorm,
    triage: Linear,
    next: Linear,
    incident: Linear,
    playbook_wide: Linear,
    playbook: Linear,
}

/// What one member says of a batch.
pub struct Logits {
    /// `[rows, 3]`
    pub triage: Tensor<2>,
    /// `[rows, 14]`
    pub next: Tensor<2>,
    /// `[rows, 16]`: its product with a playbook's vector is the logit of that playbook's success.
    pub incident: Tensor<2>,
}

impl Member {
    fn zero(device: &Device) -> Member {
        let linear = |from, to| LinearConfig::new(from, to).with_initializer(Initializer::Zeros).init(device);
        Member {
            wide: linear(NUMERIC.len() + 2 * EMBEDDING, TRUNK[0]),
            wide_norm: LayerNormConfig::new(TRUNK[0]).init(device),
            deep: linear(TRUNK[0], TRUNK[1]),
            deep_norm: LayerNormConfig::new(TRUNK[1]).init(device),
            triage: linear(TRUNK[1], TRIAGES),
            next: linear(TRUNK[1], NEXT),
            incident: linear(TRUNK[1], MATCH),
            playbook_wide: linear(TRAITS, PLAYBOOK),
            playbook: linear(PLAYBOOK, MATCH),
        }
    }

    /// The logits of a batch of numeric features beside this member's pooled names. `keep` is given in training only: what
    /// of each trunk layer is kept, scaled (dropout).
    fn forward(&self, input: Tensor<2>, keep: Option<[Tensor<2>; 2]>) -> Logits {
        let [keep_wide, keep_deep] = keep.map_or([None, None], |both| both.map(Some));
        let wide = self.wide.forward(input);
        let wide = dropped(relu(self.wide_norm.forward(wide)), keep_wide);
        let deep = dropped(relu(self.deep_norm.forward(self.deep.forward(wide))), keep_deep);
        Logits {
            triage: self.triage.forward(deep.clone()),
            next: self.next.forward(deep.clone()),
            incident: self.incident.forward(deep),
        }
    }

    /// The vectors of playbooks, `[playbooks, 16]`, of their traits, `[playbooks, TRAITS]`.
    pub fn playbooks(&self, traits: Tensor<2>) -> Tensor<2> {
        self.playbook.forward(relu(self.playbook_wide.forward(traits)))
    }
}

fn dropped(layer: Tensor<2>, keep: Option<Tensor<2>>) -> Tensor<2> {
    match keep {
        Some(keep) => layer * keep,
        None => layer,
    }
}

impl Network {
    /// A network whose weights are all zero: what a stored one is read into.
    #[must_use]
    pub fn zero(device: &Device) -> Network {
        let names = EmbeddingConfig::new(usize::from(BUCKETS), MEMBERS * EMBEDDING)
            .with_initializer(Initializer::Zeros)
            .init(device);
        Network { names, members: (0..MEMBERS).map(|_| Member::zero(device)).collect() }
    }

    /// A network to be trained. Drawn from `seed` alone: burn's own generator is one for the whole process.
    #[must_use]
    pub fn drawn(seed: u64, device: &Device) -> Network {
        Network::zero(device).map(&mut Draw(Dice(seed)))
    }

    /// The members.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Each member's logits of `rows`, `[rows, WIDTH]`. `keep` is given in training only: for each member, what of its trunk's
    /// two layers is kept, scaled (dropout).
    #[must_use]
    pub fn forward(&self, rows: &Tensor<2>, keep: Option<Vec<[Tensor<2>; 2]>>) -> Vec<Logits> {
        let numeric = rows.clone().narrow(1, 0, NUMERIC.len());
        let tokens = rows.clone().narrow(1, NUMERIC.len(), TOKENS);
        // Buckets count from 1 and 0 pads, so clamping gives the mask of what is there.
        let there = tokens.clone().clamp(0.0, 1.0);
        let many = there.clone().sum_dim(1).clamp_min(1.0);
        let vectors = self.names.forward(tokens.int()) * there.unsqueeze_dim::<3>(2);
        let mean = vectors.clone().sum_dim(1).squeeze_dim::<2>(1) / many;
        // What pads is zero, so a maximum that is no less than zero is the same with any padding.
        let max = relu(vectors.max_dim(1).squeeze_dim::<2>(1));
        let keeps = keep.map_or_else(|| vec![None; MEMBERS], |keeps| keeps.into_iter().map(Some).collect());
        let each = self.members.iter().zip(keeps).enumerate().map(|(at, (member, keep))| {
            let own = |pooled: &Tensor<2>| pooled.clone().narrow(1, at * EMBEDDING, EMBEDDING);
            member.forward(Tensor::cat(vec![numeric.clone(), own(&mean), own(&max)], 1), keep)
        });
        each.collect()
    }

    /// Each member's vectors of playbooks, `[16, playbooks]`: made once, they serve every batch.
    #[must_use]
    pub fn playbooks(&self, traits: &[PlaybookTraits], device: &Device) -> Vec<Tensor<2>> {
        let values: Vec<f32> = traits.iter().flat_map(|playbook| playbook.values).collect();
        let values = Tensor::from_data(TensorData::new(values, [traits.len(), TRAITS]), device);
        self.members.iter().map(|member| member.playbooks(values.clone()).transpose()).collect()
    }

    /// The ensemble's logits, `[rows, 3 + 14 + playbooks]`.
    ///
    /// # Panics
    /// Panics where `playbooks` is not of [`Network::playbooks`].
    #[must_use]
    pub fn judge(&self, rows: &Tensor<2>, playbooks: &[Tensor<2>]) -> Tensor<2> {
        let each = self.forward(rows, None).into_iter().zip(playbooks).map(|(logits, playbooks)| {
            let Logits { triage, next, incident } = logits;
            Tensor::cat(vec![triage, next, incident.matmul(playbooks.clone())], 1)
        });
        let sum = each.reduce(|sum, member| sum + member).expect("a network has members");
        sum / MEMBERS as f32
    }

    /// Whether every weight is a finite number.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        let mut finite = Finite(true);
        self.visit(&mut finite);
        finite.0
    }
}

/// Appends one row of input.
pub fn pack(features: &Features, rows: &mut Vec<f32>) {
    rows.extend_from_slice(&features.numeric);
    rows.extend(features.tokens.iter().map(|token| f32::from(*token)));
}

struct Finite(bool);

impl ModuleVisitor for Finite {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        self.0 &= data.as_slice::<f32>().is_ok_and(|values| values.iter().all(|value| value.is_finite()));
    }
}

/// Draws the matrices uniformly within the bound of Glorot and Bengio (2010); vectors stay as they are: biases 0, scales 1.
struct Draw(Dice);

impl ModuleMapper for Draw {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let dims: [usize; D] = param.val().dims();
        let [from, to] = match dims.as_slice() {
            [from, to] => [*from, *to],
            _ => return param,
        };
        // An embedding's rows are looked up, not summed: its bound doesn't depend on how many there are.
        let bound = if from == usize::from(BUCKETS) { 0.25 } else { (6.0 / (from + to) as f32).sqrt() };
        let values: Vec<f32> = (0..from * to).map(|_| (self.0.unit() * 2.0 - 1.0) * bound).collect();
        param.map(|old| Tensor::from_data(TensorData::new(values, dims), &old.device()))
    }
}

/// `SplitMix64` (Steele, Lea and Flood 2014): a sequence that depends on its seed alone.
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// The next number below `n`, which is not 0.
    #[expect(clippy::cast_possible_truncation, reason = "less than `n`")]
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    /// The next number in [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.roll() >> 40) as f32 / 16_777_216.0
    }
}
