//! `quell model`: the versions of a registry, and which of them is in use.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failure, Output, learning, setup};
use crate::learn::Bounds;
use crate::learn::promote::{promote, rollback};
use crate::rank::model::{self, Promoted};

/// List the model's versions, put one to use, or go back to the one before.
///
/// Example: quell model promote v2 --golden golden-archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// List the versions, the one in use marked with `*`.
    ///
    /// Example: quell model list
    List(List),
    /// Put a version to use, if it loads, answers numbers and is not worse than the one in use on the golden archives.
    ///
    /// A live run whose plan names the registry, and whose command line no version, judges by it from the next second on. The
    /// version before must stay in the registry: what the log has of it may have to be judged again.
    ///
    /// Example: quell model promote v2 --golden golden-archive/ --by ada
    Promote(Promote),
    /// Go back to the version that was in use before.
    ///
    /// Example: quell model rollback --by ada
    Rollback(Rollback),
}

#[derive(clap::Args)]
struct List {
    /// Where models lie.
    #[arg(long, default_value = learning::MODELS)]
    models: PathBuf,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args)]
struct Promote {
    /// The version.
    version: String,
    /// Where models lie.
    #[arg(long, default_value = learning::MODELS)]
    models: PathBuf,
    /// Archives that neither version was trained from: the new one may not be worse on them.
    #[arg(long, num_args = 1..)]
    golden: Vec<PathBuf>,
    /// The plan, for what its playbooks do.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// Who promotes it; by default the account's name.
    #[arg(long)]
    by: Option<String>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(clap::Args)]
struct Rollback {
    /// Where models lie.
    #[arg(long, default_value = learning::MODELS)]
    models: PathBuf,
    /// Who goes back; by default the account's name.
    #[arg(long)]
    by: Option<String>,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::List(args) => list(&args),
        What::Promote(args) => {
            let golden = if args.golden.is_empty() {
                Vec::new()
            } else {
                learning::examples(&args.flow, &args.golden, &Bounds::default())?.examples
            };
            let by = learning::by(args.by)?;
            let promoted = promote(&args.models, &args.version, &golden, &by, &learning::now())?;
            tell(&promoted, "is in use now", args.output)
        }
        What::Rollback(args) => {
            let by = learning::by(args.by)?;
            let promoted = rollback(&args.models, &by, &learning::now())?;
            tell(&promoted, "is in use again", args.output)
        }
    }
}

fn tell(promoted: &Promoted, what: &str, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => say!("{}", serde_json::to_string(promoted)?),
        Output::Text => {
            say!(
                "{} ({:.16}) {what}, by {} at {}",
                promoted.version,
                promoted.blake3,
                promoted.by,
                promoted.at
            );
        }
    }
    Ok(())
}

fn list(args: &List) -> Result<(), Failure> {
    let in_use = model::promoted(&args.models).ok();
    let mut versions: Vec<(String, String, Option<f64>)> = Vec::new();
    let entries = std::fs::read_dir(&args.models).map_err(|error| {
        anyhow::anyhow!("{}: {error}: name the registry with --models", args.models.display())
    })?;
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if path.join("weights.safetensors").is_file() {
            versions.push((name, model::hash(&path)?, macro_f1(&path)));
        }
    }
    versions.sort_by(|a, b| a.0.cmp(&b.0));
    let used = |version: &str| in_use.as_ref().filter(|promoted| promoted.version == version);
    match args.output {
        Output::Json => {
            let row = |(version, hash, f1): &(String, String, Option<f64>)| serde_json::json!({ "version": version, "blake3": hash, "macro_f1": f1, "promoted": used(version) });
            say!("{}", serde_json::Value::Array(versions.iter().map(row).collect()));
        }
        Output::Text => {
            for (version, hash, f1) in &versions {
                let mark = if used(version).is_some() { '*' } else { ' ' };
                let f1 = f1.map(|f1| format!("macro-F1 {f1:.3}")).unwrap_or_default();
                let who = used(version).map(|it| format!("promoted by {} at {}", it.by, it.at));
                say!("{mark} {version:<12} {hash:.16}  {f1}  {}", who.unwrap_or_default());
            }
            if versions.is_empty() {
                say!("No model in {}: make one with `quell train`.", args.models.display());
            }
        }
    }
    Ok(())
}

/// What the version's metrics say of rows that it had not seen.
fn macro_f1(path: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(path.join("metrics.json")).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?["test"]["macro_f1"].as_f64()
}
