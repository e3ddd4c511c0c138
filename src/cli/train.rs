//! `quell train`: archives -> a model, with a card that says what it was learned from and how well it does.

use std::path::PathBuf;

use super::report::Progress;
use super::{Failure, Output, evaluate, learning, setup};
use crate::learn::card::{self, Origin};
use crate::learn::{Bounds, TrainConfig, train_told};

/// Train a model from archives: triage from analysts' verdicts, playbooks' scores from what came of actions.
///
/// Features are as they were when each version of an incident was published; labels are people's for the triage, people's
/// and executors' for actions, never the model's own. Of time, the oldest 70 % are learned from, the newest 15 % are kept to
/// measure. The same archives and seed give the same weights. The model is written beside the others and not put to use:
/// see `quell model promote`.
///
/// Example: quell train --archive archive/ --out models/ranker/v2
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Archives to learn from.
    #[arg(long, required = true, num_args = 1..)]
    archive: Vec<PathBuf>,
    /// The new version's folder: models/ranker/VERSION.
    #[arg(long)]
    out: PathBuf,
    /// The plan, for what its playbooks do.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// What all draws come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Turns over the data, at most; training stops earlier where it no longer helps.
    #[arg(long, default_value_t = TrainConfig::default().turns_max)]
    turns: usize,
    /// Incidents of an archive that nothing was ruled on, at most; those with a ruling are all taken.
    #[arg(long, default_value_t = Bounds::default().unruled_max)]
    unruled: usize,
    /// Count the verdicts as this tenant's, where the archives' own is only a name: a model is believed at tenants that it has
    /// verdicts of, and what was learned elsewhere should not count as theirs.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// A file whose text goes into the card.
    #[arg(long, value_name = "FILE")]
    notes: Option<PathBuf>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let (registry, version) = learning::version_of(&args.out)?;
    if args.out.join("weights.safetensors").exists() {
        let what = format!("{} holds a model already; choose a new version", args.out.display());
        return Err(anyhow::anyhow!(what).into());
    }
    let notes = args.notes.as_ref().map(std::fs::read_to_string).transpose()?;
    let bounds = Bounds { unruled_max: args.unruled, tenant: args.tenant.clone() };
    let gathered = learning::examples(&args.flow, &args.archive, &bounds)?;
    let config = TrainConfig { seed: args.seed, turns_max: args.turns, ..TrainConfig::default() };
    let progress = Progress::of("learning", args.turns as u64);
    let trained = train_told(gathered.examples, &config, &mut |turn| progress.at(turn as u64));
    progress.finish();
    let trained = trained?;
    let origin = Origin {
        data: gathered.story.to_string(),
        synthetic: gathered.story.is_synthetic(),
        notes: notes.unwrap_or_default(),
    };
    let folder = card::write(registry, version, &trained, &config, &origin)?;
    match args.output {
        Output::Json => {
            let said = serde_json::json!({
                "version": version,
                "rows": trained.rows,
                "turns": trained.turns,
                "test": trained.test,
            });
            say!("{said}");
        }
        Output::Text => {
            let [learned, stopped, tested] = trained.rows;
            say!(
                "Learned from {learned} rows in {} turns, stopped by {stopped}, tested on {tested}.",
                trained.turns
            );
            evaluate::tell(&trained.test);
            say!("\nModel: {} (read its CARD.md)", folder.display());
            say!("Next:  quell model promote {version} --models {}", registry.display());
        }
    }
    Ok(())
}
