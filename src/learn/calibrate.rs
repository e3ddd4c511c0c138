//! Calibrate: one temperature for the triage's logits (Guo et al. 2017), so that a confidence of .9 is right nine times in ten.
//!
//! Fitted on the newest slice, and kept only where it helps on rows that it was not fitted on: one fitted on older rows made
//! things worse (.024 to .055).

use super::dataset::Example;
use super::evaluate::predict;
use super::metrics::{calibration_error, mean};
use crate::rank::network::Network;
use crate::rank::ranker::{most, softmax};

/// Labelled rows in each half without which no temperature is fitted.
const ROWS_MIN: usize = 50;

/// What to divide the logits by: fitted on every other group of `valid`'s newer half, and 1 unless the calibration error of
/// the rest of that half is smaller with it.
#[must_use]
pub fn temperature(network: &Network, valid: &[Example]) -> f32 {
    let newest: Vec<Example> =
        valid[valid.len() / 2..].iter().filter(|example| example.triage.is_some()).cloned().collect();
    let rows: Vec<(Vec<f32>, usize)> = predict(network, &newest)
        .into_iter()
        .zip(&newest)
        .filter_map(|(prediction, example)| Some((prediction.triage, example.triage? as usize)))
        .collect();
    let (fit, check): (Vec<_>, Vec<_>) =
        rows.iter().zip(&newest).partition(|(_, example)| example.group.0[15] & 1 == 0);
    if fit.len() < ROWS_MIN || check.len() < ROWS_MIN {
        return 1.0;
    }
    let lost = |temperature: f64| {
        mean(&fit.iter().map(|((l, c), _)| -softmax(l, temperature)[*c].max(1e-12).ln()).collect::<Vec<_>>())
    };
    // The loss has one minimum in the temperature; a grid of 2 % steps finds it as well as is needed.
    let grid = (-70..=70).map(|step| 1.02f64.powi(step));
    let fitted = grid.min_by(|a, b| lost(*a).total_cmp(&lost(*b))).unwrap_or(1.0);
    let error = |temperature: f64| {
        let told: Vec<(f64, bool)> = check
            .iter()
            .map(|((logits, class), _)| {
                let probabilities = softmax(logits, temperature);
                let said = most(&probabilities);
                (probabilities[said], said == *class)
            })
            .collect();
        calibration_error(&told)
    };
    #[expect(clippy::cast_possible_truncation, reason = "between 0.25 and 4")]
    if error(fitted) < error(1.0) { fitted as f32 } else { 1.0 }
}
