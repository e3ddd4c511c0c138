//! `quell evaluate incidents`: whether incidents are what truly belongs together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::archive::Reader;
use crate::cli::{Failure, Output, setup};
use crate::learn::grouping::{Grouping, measure};
use crate::record::{AlertId, IncidentId, Names, Triage};

/// Measure an archive's incidents against a truth: do campaigns stay whole, and strangers apart?
///
/// The truth is JSON lines: `{"alert": "<vendor id>", "campaign": 3, "label": "true_positive"}`, as `quell generate` writes it;
/// or, for other sources, `{"alert_id": "<the archive's alert_id>", "campaign": 3}`. Look-alikes (other labels) count as
/// background.
///
/// Example: quell generate --alerts 50000 --out days && quell replay --input days/alerts.jsonl --archive out &&
/// quell evaluate incidents --archive out --truth days/truth.jsonl
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The archive.
    #[arg(long)]
    archive: PathBuf,
    /// What its alerts truly are.
    #[arg(long)]
    truth: PathBuf,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Deserialize)]
struct Line {
    alert: Option<String>,
    alert_id: Option<String>,
    campaign: u64,
    #[serde(default)]
    label: Option<Triage>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let names = Arc::new(Names::default());
    setup::archive(&args.archive)?;
    let reader = Reader::open(&args.archive, Arc::clone(&names))?;
    let mut members: FxHashMap<(AlertId, IncidentId), i64> = FxHashMap::default();
    let mut tenants = BTreeSet::new();
    for line in reader.members(None)? {
        let line = line?;
        tenants.insert(names.get(line.tenant));
        *members.entry((line.alert_id, line.incident_id)).or_default() += line.diff;
    }
    let truth = truth(&args.truth, &tenants)?;
    let homes = members.into_iter().filter(|(_, n)| *n > 0).map(|(home, _)| home);
    let found = measure(homes, &truth);
    if found.campaigns == 0 {
        let (truth, archive) = (args.truth.display(), args.archive.display());
        return Err(
            anyhow!("no alert of {truth} is in {archive}: was it replayed from the same files?").into()
        );
    }
    match args.output {
        Output::Json => say!("{}", serde_json::to_string(&found)?),
        Output::Text => tell(&found),
    }
    Ok(())
}

/// The campaign of each alert. A vendor's id is one of a product, with which the generator's ids begin, and a tenant.
fn truth(file: &Path, tenants: &BTreeSet<String>) -> Result<BTreeMap<AlertId, u64>, Failure> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut truth = BTreeMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("{} line {} is no truth; see --help for its form", file.display(), n + 1);
        let line: Line = serde_json::from_str(line).with_context(at)?;
        if line.label.is_some_and(|label| label != Triage::TruePositive) {
            continue;
        }
        match (line.alert, line.alert_id) {
            (Some(vendor), _) => {
                let product = vendor.split_once('-').map_or(vendor.as_str(), |(product, _)| product);
                truth.extend(tenants.iter().map(|tenant| {
                    let parts = [tenant.as_bytes(), product.as_bytes(), vendor.as_bytes()];
                    (AlertId::of(&parts), line.campaign)
                }));
            }
            (None, Some(id)) => {
                let id = AlertId::parse(&id).ok_or_else(|| anyhow!("{}", at()))?;
                truth.insert(id, line.campaign);
            }
            (None, None) => return Err(anyhow!("{}", at()).into()),
        }
    }
    Ok(truth)
}

fn tell(found: &Grouping) {
    say!("{} alerts in {} incidents", found.alerts, found.incidents);
    say!(
        "{} campaigns with {} alerts, in {} incidents",
        found.campaigns,
        found.campaign_alerts,
        found.holding
    );
    say!("  nine in ten of a campaign's alerts in one incident: {} of {}", found.whole, found.campaigns);
    say!("  mean purity of the incidents that hold any          {:.3}", found.purity);
    say!(
        "  pairs that are right together: precision {:.3}, recall {:.3}, F1 {:.3}",
        found.precision,
        found.recall,
        found.f1
    );
}
