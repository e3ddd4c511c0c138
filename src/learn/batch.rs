//! Batch: examples as tensors; and history as it stood at each example's time.

use burn::prelude::*;

use super::dataset::Example;
use crate::rank::history::History;
use crate::rank::network::{Dice, NEXT, TRIAGES, TRUNK, WIDTH, pack};
use crate::rank::traits::TRAITS;

/// Some examples as the network takes them. A target that is not known has weight 0.
pub struct Batch {
    /// `[rows, WIDTH]`
    pub rows: Tensor<2>,
    /// `[rows, 3]`: weight at the class.
    pub triage: Tensor<2>,
    /// `[rows, 14]`: weight shared by the tactics that came.
    pub next: Tensor<2>,
    /// Playbooks that were tried on these rows; none where there were none.
    pub tried: Option<Tried>,
}

/// Playbooks that were tried, `pairs` of them.
pub struct Tried {
    /// `[pairs]`: the row of each.
    pub row: Tensor<1, Int>,
    /// `[pairs, TRAITS]`
    pub traits: Tensor<2>,
    /// `[pairs, 2]`: weight at success, weight at failure.
    pub success: Tensor<2>,
}

impl Batch {
    /// The batch of `examples`, whose history columns are filled in.
    #[must_use]
    pub fn of(examples: &[&Example], device: &Device) -> Batch {
        let many = examples.len();
        let (mut rows, mut triage, mut next) =
            (Vec::new(), vec![0.0; many * TRIAGES], vec![0.0; many * NEXT]);
        let (mut row, mut traits, mut success): (Vec<i32>, Vec<f32>, Vec<f32>) = (vec![], vec![], vec![]);
        for (at, example) in examples.iter().enumerate() {
            pack(&example.features, &mut rows);
            if let Some(class) = example.triage {
                triage[at * TRIAGES + class as usize] = example.weight;
            }
            if let Some(tactics) = example.next {
                let each = example.weight / tactics.0.count_ones().max(1) as f32;
                for tactic in (0..NEXT).filter(|tactic| tactics.0 >> tactic & 1 == 1) {
                    next[at * NEXT + tactic] = each;
                }
            }
            for (playbook, did) in &example.success {
                row.push(i32::try_from(at).unwrap_or(i32::MAX));
                traits.extend(playbook.values);
                success.extend(if *did { [example.weight, 0.0] } else { [0.0, example.weight] });
            }
        }
        let matrix = |values: Vec<f32>, width: usize| {
            let rows = values.len() / width;
            Tensor::<2>::from_data(TensorData::new(values, [rows, width]), device)
        };
        let pairs = row.len();
        Batch {
            rows: matrix(rows, WIDTH),
            triage: matrix(triage, TRIAGES),
            next: matrix(next, NEXT),
            tried: (pairs > 0).then(|| Tried {
                row: Tensor::from_data(TensorData::new(row, [pairs]), device),
                traits: matrix(traits, TRAITS),
                success: matrix(success, 2),
            }),
        }
    }
}

/// What dropout keeps of each trunk layer, scaled so that the sum stays. Drawn from `dice` alone: burn's own generator is one
/// for the whole process, and two trainings in it would disturb each other.
#[must_use]
pub fn keep(rows: usize, dropout: f32, dice: &mut Dice, device: &Device) -> [Tensor<2>; 2] {
    TRUNK.map(|width| {
        let kept = 1.0 / (1.0 - dropout);
        let values: Vec<f32> =
            (0..rows * width).map(|_| if dice.unit() < dropout { 0.0 } else { kept }).collect();
        Tensor::from_data(TensorData::new(values, [rows, width]), device)
    })
}

/// Fills in each example's history columns as they stood at its time, from the labels of other examples of this slice that
/// were given by then; each group's first label counts once. (Filled from all labels, its own among them, a model would
/// learn to read its own label: measured at .896 against .745 without.) Gives the history after the last.
#[must_use]
pub fn fill_as_of(examples: &mut [Example], mut history: History) -> History {
    let mut labels: Vec<usize> = (0..examples.len()).filter(|at| examples[*at].triage.is_some()).collect();
    labels.sort_by_key(|at| (examples[*at].labelled, examples[*at].group.0, examples[*at].time));
    let mut counted = std::collections::BTreeSet::new();
    labels.retain(|at| counted.insert(examples[*at].group.0));
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|at| (examples[*at].time, examples[*at].group.0));
    let mut labels = labels.into_iter().peekable();
    for at in order {
        // Strictly before: a label given in the same second may be this example's own.
        while let Some(label) = labels.next_if(|label| examples[*label].labelled < examples[at].time) {
            count(&mut history, &examples[label]);
        }
        examples[at].features = history.fill(&examples[at].features);
    }
    for label in labels {
        count(&mut history, &examples[label]);
    }
    history
}

/// Fills in history columns from a history that is frozen, as they are in service.
pub fn fill_frozen(examples: &mut [Example], history: &History) {
    for example in examples {
        example.features = history.fill(&example.features);
    }
}

fn count(history: &mut History, example: &Example) {
    if let Some(verdict) = example.triage {
        history.add(&example.features, verdict);
    }
}
