//! A decision: what was weighed, which guard spoke, what was done.

use serde_json::json;

use super::words::{self, section, when};
use super::{Said, Source, all, incident};
use crate::archive::Only;
use crate::cli::Failure;
use crate::record::DecisionId;

pub(super) fn explain(source: &Source, id: &str) -> Result<Said, Failure> {
    let (reader, names) = (&source.reader, source.names());
    let id = DecisionId::parse(id).ok_or_else(|| anyhow::anyhow!("{id} is no id"))?;
    let only = || Some(Only::of("decision_id", [id.0]));
    let lines = incident::decisions(all(reader.decisions(only()))?);
    let line = lines.last().ok_or_else(|| anyhow::anyhow!("decision {id} has no row"))?;
    let of = || Some(Only::incidents([line.incident_id]));
    let weighed = incident::candidates_at((line.tick, line.epoch), all(reader.candidates(of()))?, names);
    let actions = incident::actions(all(reader.actions(only()))?);
    let mut told = vec![
        format!("Decision {id}: {} on incident {}", line.ruling.name(), line.incident_id),
        format!("  at {}, on the incident as it was then", when(line.tick * 1000)),
        format!("  because {}", line.reason_detail.clone().unwrap_or_else(|| names.get(line.reason))),
        format!("  score {:.4}, confidence {:.4}", line.score.value(), line.confidence.value()),
        format!("  model {}, plan {}", names.get(line.model_version), names.get(line.plan_hash)),
    ];
    if let Some(playbook) = line.playbook_id {
        told.insert(1, format!("  playbook {}", source.playbook(&names.get(playbook))));
    }
    told.extend(line.undoes.map(|of| format!("  it is on what decision {of} did")));
    told.extend(line.supersedes.map(|before| format!("  it replaced {before}")));
    told.extend(line.superseded_by.map(|after| format!("  it was replaced by {after}")));
    let candidates = weighed.iter().map(|line| words::candidate(line, source)).collect();
    section(&mut told, "Playbooks weighed, with the probability that they succeed", candidates);
    section(&mut told, "Actions", actions.iter().map(|rows| words::action(rows)).collect());
    let json = json!({
        "kind": "decision",
        "decision": words::decision_json(line, names),
        "candidates": weighed.iter().map(|line| words::candidate_json(line, names)).collect::<Vec<_>>(),
        "actions": actions.iter().flatten().map(words::action_json).collect::<Vec<_>>(),
    });
    Ok(Said { lines: told, json })
}
