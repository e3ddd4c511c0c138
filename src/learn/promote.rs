//! Promote: a version is put to use: `promoted.toml` names it with its hash, who did it and when.
//!
//! Refused where the version can't be loaded (missing or foreign files, wrong shapes, weights that are no numbers), where it
//! answers anything but numbers, and where it falls behind the version in use on the golden set.

use std::path::Path;

use super::dataset::Example;
use super::evaluate::{evaluate, predict};
use crate::rank::Model;
use crate::rank::model::{self, ModelError, Promoted};

/// What macro-F1 on the golden set may fall by.
pub const DROP_MAX: f64 = 0.01;

/// Why a version is not promoted.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// It can't be loaded or written down.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// It answers what is no number.
    #[error(
        "{version} answers infinities or no numbers on the golden set: it is not promoted; train it again"
    )]
    NotFinite {
        /// The version.
        version: String,
    },
    /// It is worse than what is in use.
    #[error(
        "{version} has macro-F1 {theirs:.3} on the golden set, {incumbent} has {ours:.3}: a fall of more than {DROP_MAX} is \
         not promoted; look at the slices in its CARD.md"
    )]
    Worse {
        /// The version.
        version: String,
        /// Its macro-F1.
        theirs: f64,
        /// The version in use.
        incumbent: String,
        /// Its macro-F1.
        ours: f64,
    },
}

/// Puts `version` to use, by whom and at which time (RFC 3339) is told. `golden` are examples that feedback can't write; none
/// where there is no such set yet.
pub fn promote(
    registry: &Path,
    version: &str,
    golden: &[Example],
    by: &str,
    at: &str,
) -> Result<Promoted, PromoteError> {
    let candidate = Model::load(registry, Some(version))?;
    let answers = predict(&candidate.network, golden);
    if !answers
        .iter()
        .flat_map(|answer| answer.triage.iter().chain(&answer.next))
        .all(|logit| logit.is_finite())
    {
        return Err(PromoteError::NotFinite { version: version.to_owned() });
    }
    if registry.join("promoted.toml").exists() && !golden.is_empty() {
        let incumbent = Model::load(registry, None)?;
        let (ours, theirs) = (evaluate(&incumbent, golden).macro_f1, evaluate(&candidate, golden).macro_f1);
        // Not `theirs < ...`: what is no number is refused too.
        if theirs.is_nan() || theirs < ours - DROP_MAX {
            let (version, incumbent) = (version.to_owned(), incumbent.version);
            return Err(PromoteError::Worse { version, theirs, incumbent, ours });
        }
    }
    let promoted = Promoted {
        version: version.to_owned(),
        blake3: candidate.hash,
        by: by.to_owned(),
        at: at.to_owned(),
    };
    let path = registry.join("promoted.toml");
    let text = toml::to_string(&promoted)
        .map_err(|error| ModelError::Content { path: path.clone(), reason: error.to_string() })?;
    model::save(&path, text.as_bytes())?;
    Ok(promoted)
}
