//! Who or what parted incidents: what the epoch took that split them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Source, all};
use crate::archive::IncidentLine;
use crate::cli::Failure;
use crate::record::{Epoch, IncidentId, IncidentState, InputKind};

/// Incidents that a revision parted from another, each with why.
pub(super) type Parted = BTreeMap<IncidentId, String>;

/// Of the incidents that go on from one with these versions, those that a revision parted from it, each with its epoch.
pub(super) fn parted<'a>(
    versions: &'a [IncidentLine],
    follows: &'a [IncidentLine],
) -> impl Iterator<Item = (IncidentId, Epoch)> + 'a {
    let split = |tick| versions.iter().find(|line| line.state == IncidentState::Split && line.tick == tick);
    follows
        .iter()
        .filter(|line| line.version == 1)
        .filter_map(move |line| Some((line.incident_id, split(line.tick)?.epoch)))
}

/// Why they were parted.
pub(super) fn reasons(source: &Source, parted: BTreeMap<IncidentId, Epoch>) -> Result<Parted, Failure> {
    let epochs: BTreeSet<Epoch> = parted.values().copied().collect();
    let mut reasons: BTreeMap<Epoch, String> = BTreeMap::new();
    // Few incidents are parted: the table is read for these alone.
    let lines = if epochs.is_empty() { Vec::new() } else { all(source.reader.inputs(None))? };
    for line in lines.into_iter().filter(|line| epochs.contains(&line.epoch)) {
        if let Some(reason) = reason(line.kind, &line.body) {
            reasons.insert(line.epoch, reason);
        }
    }
    let why = |epoch| reasons.get(&epoch).cloned().unwrap_or_else(|| "they are not related".to_owned());
    Ok(parted.into_iter().map(|(id, epoch)| (id, why(epoch))).collect())
}

fn reason(kind: InputKind, body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |field: &str| body.get(field)?.as_str();
    match kind {
        InputKind::Verdict => {
            let unlinked = body.get("unlink").and_then(|_| text("by"));
            unlinked.map(|by| format!("{by} said that they are not related"))
        }
        InputKind::Withdrawal => {
            let rules =
                body.get("withdrawn")?.as_array()?.iter().filter_map(|it| it.get("correlation")?.as_str());
            let rules: BTreeSet<String> = rules.map(|rule| format!("{rule:?}")).collect();
            let rules: Vec<String> = rules.into_iter().collect();
            Some(format!("what {} had found was withdrawn", rules.join(", ")))
        }
        InputKind::Context => Some("what they share was listed as never linking".to_owned()),
        InputKind::Tick
        | InputKind::Approval
        | InputKind::Receipt
        | InputKind::Score
        | InputKind::Promotion
        | InputKind::Push
        | InputKind::Sighting => None,
    }
}
