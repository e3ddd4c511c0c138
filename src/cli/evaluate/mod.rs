//! `quell evaluate`: how a model does on archives, beside what does without a model.

mod incidents;

use std::path::{Path, PathBuf};

use super::{Failure, Output, learning, setup};
use crate::learn::{Bounds, Evaluation, card, evaluate};
use crate::rank::Model;

/// Measure a model on archives: macro-F1 of the triage, recall of attacks by slice, calibration, ranking of playbooks.
///
/// On archives that it was not trained from: a model knows what it has seen.
///
/// Example: quell evaluate --archive archive/ --model v1
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Archives to measure on.
    #[arg(long, required = true, num_args = 1..)]
    archive: Vec<PathBuf>,
    /// The version; the promoted one where none is named.
    #[arg(long)]
    model: Option<String>,
    /// Where models lie.
    #[arg(long, default_value = learning::MODELS)]
    models: PathBuf,
    /// The plan, for what its playbooks do.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// Incidents of an archive that nothing was ruled on, at most; those with a ruling are all taken.
    #[arg(long, default_value_t = Bounds::default().unruled_max)]
    unruled: usize,
    /// Write the result into the model's metrics.json, under this name.
    #[arg(long, value_name = "NAME")]
    record: Option<String>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What else can be measured.
#[derive(clap::Subcommand)]
enum What {
    Incidents(incidents::Args),
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if let Some(What::Incidents(args)) = &args.what {
        return incidents::run(args);
    }
    let model = Model::load(&args.models, args.model.as_deref())?;
    let bounds = Bounds { unruled_max: args.unruled, ..Bounds::default() };
    let gathered = learning::examples(&args.flow, &args.archive, &bounds)?;
    let evaluation = evaluate(&model, &gathered.examples);
    if evaluation.rows == 0 {
        let what = "no incident of these archives has an analyst's verdict: give some with `quell verdict`";
        return Err(anyhow::anyhow!(what).into());
    }
    if let Some(name) = &args.record {
        card::record(&args.models.join(&model.version), name, &evaluation)?;
    }
    match args.output {
        Output::Json => {
            let said =
                serde_json::json!({ "model": model.version, "blake3": model.hash, "result": evaluation });
            say!("{said}");
        }
        Output::Text => {
            say!("{} ({:.16}) on {}", model.version, model.hash, list(&args.archive));
            tell(&evaluation);
            say!("\n{}", gathered.story);
            if gathered.story.is_synthetic() {
                say!("These archives are synthetic: the numbers are of the simulator, not of the world.");
            }
        }
    }
    Ok(())
}

fn list(archives: &[PathBuf]) -> String {
    archives.iter().map(|path: &PathBuf| Path::display(path).to_string()).collect::<Vec<_>>().join(", ")
}

/// Tells an evaluation for people.
pub(crate) fn tell(evaluation: &Evaluation) {
    let e = evaluation;
    say!("\nTriage, {} rows            macro-F1  accuracy", e.rows);
    for (who, f1, accuracy) in [
        ("this model", e.macro_f1, e.accuracy),
        ("severity alone", e.severity.macro_f1, e.severity.accuracy),
        ("commonest class", e.majority.macro_f1, e.majority.accuracy),
    ] {
        say!("  {who:<28} {f1:>6.3}    {accuracy:>6.3}");
    }
    say!("  calibration error            {:>6.3}", e.calibration_error);
    say!(
        "  at a confidence of .9 and more: {:.1} % of rows, {:.1} % of them right",
        e.confident_share * 100.0,
        e.confident_accuracy * 100.0
    );
    say!("\nPlaybooks, {} tries", e.playbooks.pairs);
    if let Some(auc) = e.playbooks.auc {
        say!("  a success scored above a failure (AUC)   {auc:.3}");
        say!("  calibration error                        {:.3}", e.playbooks.calibration_error);
    }
    say!(
        "  of {} incidents with several tries, the best scored failed on {:.1} %",
        e.playbooks.contested,
        e.playbooks.regret * 100.0
    );
    if let Some(top3) = e.next_top3 {
        say!("\nThe next tactic was among the three told: {:.1} %", top3 * 100.0);
    }
    if !e.slices.is_empty() {
        say!("\nRecall of attacks by slice");
    }
    for slice in &e.slices {
        say!("  {:<10} {:<24} {:>6} {:>8.3}", slice.by, slice.name, slice.positives, slice.recall);
    }
}
