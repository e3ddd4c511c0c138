//! Promote: a version is put to use: `promoted.toml` names it with its hash, who did it and when. `promotions.toml` beside it
//! keeps what was put to use before, so that a rollback knows where to.
//!
//! Refused where the version can't be loaded (missing or foreign files, wrong shapes, weights that are no numbers), where it
//! answers anything but numbers, and where it falls behind the version in use on the golden set.

use std::path::Path;

use serde::{Deserialize, Serialize};

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
    /// There is nothing to go back to.
    #[error("no version was in use before this one: train another and promote it (`quell model promote`)")]
    NoneBefore,
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
    let mut past = Past::read(registry)?;
    past.promotion.push(Promotion { promoted: promoted.clone(), rolled_back: None });
    let many = past.promotion.len();
    past.promotion.drain(..many.saturating_sub(KEPT));
    past.write(registry)?;
    put(&registry.join("promoted.toml"), &promoted)?;
    Ok(promoted)
}

/// Takes the version in use back, and puts the one before it to use again; its files must still be those that were promoted.
pub fn rollback(registry: &Path, by: &str, at: &str) -> Result<Promoted, PromoteError> {
    let mut past = Past::read(registry)?;
    let mut standing: Vec<&mut Promotion> =
        past.promotion.iter_mut().filter(|promotion| promotion.rolled_back.is_none()).collect();
    let [.., before, current] = standing.as_mut_slice() else { return Err(PromoteError::NoneBefore) };
    let found = Model::load(registry, Some(&before.promoted.version))?.hash;
    if found != before.promoted.blake3 {
        let path = model::folder(registry, &before.promoted.version)?;
        let promoted = before.promoted.blake3.clone();
        return Err(ModelError::Tampered { path, found, promoted }.into());
    }
    current.rolled_back = Some(RolledBack { by: by.to_owned(), at: at.to_owned() });
    let promoted = Promoted { by: by.to_owned(), at: at.to_owned(), ..before.promoted.clone() };
    past.write(registry)?;
    put(&registry.join("promoted.toml"), &promoted)?;
    Ok(promoted)
}

/// Promotions that are remembered.
const KEPT: usize = 50;

/// `promotions.toml`: oldest first.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    #[serde(default)]
    promotion: Vec<Promotion>,
}

/// A version was put to use.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Promotion {
    #[serde(flatten)]
    promoted: Promoted,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<RolledBack>,
}

/// It was taken back.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RolledBack {
    by: String,
    at: String,
}

impl Past {
    /// What is remembered; at least what is in use now.
    fn read(registry: &Path) -> Result<Past, ModelError> {
        let path = registry.join("promotions.toml");
        let past = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| ModelError::Content { path, reason: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Past::default(),
            Err(source) => return Err(ModelError::File { path, source }),
        };
        if past.promotion.is_empty() && registry.join("promoted.toml").exists() {
            let promoted = model::promoted(registry)?;
            return Ok(Past { promotion: vec![Promotion { promoted, rolled_back: None }] });
        }
        Ok(past)
    }

    fn write(&self, registry: &Path) -> Result<(), ModelError> {
        put(&registry.join("promotions.toml"), self)
    }
}

fn put(path: &Path, what: &impl Serialize) -> Result<(), ModelError> {
    let text = toml::to_string(what)
        .map_err(|error| ModelError::Content { path: path.to_owned(), reason: error.to_string() })?;
    model::save(path, text.as_bytes())
}
