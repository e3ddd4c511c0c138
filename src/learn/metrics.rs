//! Metrics: numbers that say how good predictions are. Pure functions; none of no rows is 0.

use std::cmp::Ordering;

use crate::rank::ranker::softmax;

/// Mean over classes of F1 (van Rijsbergen), of `(said, true)` pairs; a class that is neither said nor true is left out.
#[must_use]
pub fn macro_f1(pairs: &[(usize, usize)], classes: usize) -> f64 {
    let scores: Vec<f64> = (0..classes)
        .filter_map(|class| {
            let count = |said: bool, is: bool| {
                pairs.iter().filter(|(s, t)| (*s == class) == said && (*t == class) == is).count() as f64
            };
            let (hit, wrong, missed) = (count(true, true), count(true, false), count(false, true));
            (hit + wrong + missed > 0.0).then(|| 2.0 * hit / (2.0 * hit + wrong + missed))
        })
        .collect();
    mean(&scores)
}

/// Share of `(said, true)` pairs that agree.
#[must_use]
pub fn accuracy(pairs: &[(usize, usize)]) -> f64 {
    mean(&pairs.iter().map(|(said, is)| f64::from(u8::from(said == is))).collect::<Vec<_>>())
}

/// Expected calibration error over ten bins of equal width (Guo et al. 2017), of `(confidence, right)`.
#[must_use]
pub fn calibration_error(told: &[(f64, bool)]) -> f64 {
    let bin = |confidence: f64| (0..9).find(|at| confidence < f64::from(at + 1) / 10.0).unwrap_or(9);
    let off = (0..10).map(|at| {
        let within: Vec<_> = told.iter().filter(|(confidence, _)| bin(*confidence) == at).collect();
        let confidence: f64 = within.iter().map(|(confidence, _)| confidence).sum();
        let right = within.iter().filter(|(_, right)| *right).count() as f64;
        (confidence - right).abs()
    });
    off.sum::<f64>() / (told.len() as f64).max(1.0)
}

/// The probability that a success is scored above a failure (ties count half), of `(score, success)`; none where one of the
/// two is missing.
#[must_use]
pub fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let successes = sorted.iter().filter(|(_, success)| *success).count() as f64;
    let failures = sorted.len() as f64 - successes;
    // By Mann and Whitney: the sum of the successes' ranks, equals sharing the mean of theirs.
    let mut ranks = 0.0;
    let mut from = 0;
    for equal in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0) == Ordering::Equal) {
        let rank = f64::midpoint(2.0 * from as f64 + 1.0, equal.len() as f64);
        ranks += rank * equal.iter().filter(|(_, success)| *success).count() as f64;
        from += equal.len();
    }
    (successes > 0.0 && failures > 0.0)
        .then(|| (ranks - successes * (successes + 1.0) / 2.0) / (successes * failures))
}

/// What is lost on a row whose true class is `class`.
#[must_use]
pub fn cross_entropy(logits: &[f32], class: usize) -> f64 {
    -softmax(logits, 1.0)[class].max(1e-12).ln()
}

/// The mean.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / (values.len() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "0 is exact")]
    fn small_cases_by_hand() {
        let pairs = [(0, 0), (0, 1), (1, 1), (1, 1)];
        assert!((macro_f1(&pairs, 3) - f64::midpoint(2.0 / 3.0, 0.8)).abs() < 1e-9);
        assert!((accuracy(&pairs) - 0.75).abs() < 1e-9);
        assert_eq!(auc(&[(0.9, true), (0.1, false), (0.5, true), (0.5, false)]), Some(0.875));
        assert_eq!(auc(&[(0.9, true)]), None);
        assert!((calibration_error(&[(0.9, true), (0.9, false)]) - 0.4).abs() < 1e-9);
        assert_eq!([macro_f1(&[], 3), accuracy(&[]), calibration_error(&[])], [0.0; 3]);
    }
}
