//! Card: a trained model is written down: weights, config, history, metrics, and a page for whoever must answer for it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::evaluate::Evaluation;
use super::train::{TrainConfig, Trained};
use crate::rank::model::{self, ModelError};

/// Where a model came from, as its card tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The data, in a sentence: which archives, of when.
    pub data: String,
    /// Whether the data is synthetic: then the numbers are of the simulator, and the card says so.
    pub synthetic: bool,
    /// What else whoever answers for it should know.
    pub notes: String,
}

/// Writes the model as `registry/version`; gives that folder. An existing version is never overwritten.
pub fn write(
    registry: &Path,
    version: &str,
    trained: &Trained,
    config: &TrainConfig,
    origin: &Origin,
) -> Result<PathBuf, ModelError> {
    let folder = model::folder(registry, version)?;
    if folder.join("weights.safetensors").exists() {
        let source =
            std::io::Error::new(std::io::ErrorKind::AlreadyExists, "this version exists; choose a new one");
        return Err(ModelError::File { path: folder, source });
    }
    trained.model.write(&folder)?;
    let metrics = serde_json::json!({ "test": trained.test, "training": config, "rows": trained.rows, "turns": trained.turns });
    model::save(&folder.join("metrics.json"), format!("{metrics:#}\n").as_bytes())?;
    model::save(&folder.join("CARD.md"), card(version, trained, origin).as_bytes())?;
    Ok(folder)
}

/// The next free version: `v1`, or one more than the highest `v` there is.
#[must_use]
pub fn next_version(registry: &Path) -> String {
    let highest = std::fs::read_dir(registry)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix('v')?.parse::<u32>().ok())
        .max();
    format!("v{}", highest.unwrap_or(0) + 1)
}

fn card(version: &str, trained: &Trained, origin: &Origin) -> String {
    let Evaluation { rows, macro_f1, accuracy, calibration_error, majority, severity, playbooks, .. } =
        &trained.test;
    let [learned, stopped, tested] = trained.rows;
    let number =
        |value: Option<f64>| value.map_or_else(|| "no data".to_owned(), |value| format!("{value:.3}"));
    let mut card = format!(
        "# Ranker {version}\n\n\
         **For**: the triage of incidents, the choice among approved playbooks, a hint of the tactics to come, within Quell's\n\
         guards. **Not for**: closing incidents unseen, rules or tenants that it has no verdicts on (there it says what the\n\
         severity says and is not believed; after n of them its confidence is at most (n + 1) / (n + 3)), judging people.\n\n\
         **Learned from**: {}\n{learned} rows to learn from, {stopped} to stop by, {tested} to test on;\n\
         no incident is in two of them.{}\n\n\
         | on {rows} rows not seen | macro-F1 | accuracy |\n|---|---|---|\n\
         | this model | {macro_f1:.3} | {accuracy:.3} |\n\
         | severity alone | {:.3} | {:.3} |\n| commonest class | {:.3} | {:.3} |\n\n\
         Expected calibration error {calibration_error:.3} at temperature {:.2}. At a confidence of .9 and above: {:.1} % of rows, \
         {:.1} % of them right.\n\
         Playbooks: AUC {} over {} tries; where several were tried on one incident ({}), the best scored failed on {:.1} %.\n\
         Next tactic among the three told: {}.\n\n\
         ## Recall of attacks by slice\n\n| by | slice | attacks | recall |\n|---|---|---|---|\n",
        origin.data,
        if origin.synthetic {
            " **The data is synthetic: these numbers are of the simulator, not of the world.**"
        } else {
            ""
        },
        severity.macro_f1,
        severity.accuracy,
        majority.macro_f1,
        majority.accuracy,
        trained.model.config.temperature,
        trained.test.confident_share * 100.0,
        trained.test.confident_accuracy * 100.0,
        number(playbooks.auc),
        playbooks.pairs,
        playbooks.contested,
        playbooks.regret * 100.0,
        number(trained.test.next_top3),
    );
    for slice in &trained.test.slices {
        let cell = slice.name.replace(['|', '\n'], " ");
        let _ = writeln!(card, "| {} | {cell} | {} | {:.3} |", slice.by, slice.positives, slice.recall);
    }
    if !origin.notes.is_empty() {
        let _ = writeln!(card, "\n## Notes\n\n{}", origin.notes.trim_end());
    }
    card
}

/// Adds a result under `name` to the version's metrics; what stood there under that name is replaced.
pub fn record(folder: &Path, name: &str, evaluation: &Evaluation) -> Result<(), ModelError> {
    let path = folder.join("metrics.json");
    let bad = |reason: String| ModelError::Content { path: path.clone(), reason };
    let text =
        std::fs::read_to_string(&path).map_err(|source| ModelError::File { path: path.clone(), source })?;
    let mut metrics: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let result = serde_json::to_value(evaluation).map_err(|error| bad(error.to_string()))?;
    let held_out = metrics.entry("held_out").or_insert_with(|| serde_json::json!({}));
    let Some(held_out) = held_out.as_object_mut() else {
        return Err(bad("held_out is not an object".to_owned()));
    };
    held_out.insert(name.to_owned(), result);
    model::save(&path, format!("{:#}\n", serde_json::Value::Object(metrics)).as_bytes())
}
