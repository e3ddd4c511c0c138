//! An action: its rows, what came of it, and what the ledger holds of its calls.

use serde_json::{Value, json};

use super::words::{self, section, when};
use super::{Said, Source, all, incident};
use crate::act::{Intent, Known, Ledger};
use crate::archive::Only;
use crate::cli::Failure;
use crate::engine::log::STATE_FOLDER;
use crate::record::ActionId;

pub(super) fn explain(source: &Source, id: &str) -> Result<Said, Failure> {
    let reader = &source.reader;
    let id = ActionId::parse(id).ok_or_else(|| anyhow::anyhow!("{id} is no id"))?;
    let only = || Some(Only::of("action_id", [id.0]));
    let rows = incident::actions(all(reader.actions(only()))?).concat();
    let outcomes = incident::standing(all(reader.outcomes(only()))?);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(anyhow::anyhow!("action {id} has no row").into());
    };
    let (intent, known) = ledger(source, id)?;
    let mut told = vec![
        format!("Action {id}: {} {}, {}", first.verb.name(), first.target, last.status.name()),
        format!("  of decision {} on incident {}", first.decision_id, first.incident_id),
        format!("  in doubt, it would be handled as {}", first.class.name()),
    ];
    if let Some(undone) = first.undo_of {
        let why = first.reason.as_deref().unwrap_or_default();
        told.insert(1, format!("  it undoes action {undone}: {why}"));
    }
    let undone_by = all(reader.actions(Some(Only::of("undo_of", [id.0]))))?;
    if let Some(by) = undone_by.first() {
        told.push(format!(
            "  action {} undoes it: {}",
            by.action_id,
            by.reason.as_deref().unwrap_or_default()
        ));
    }
    let row = |row: &crate::archive::ActionLine| {
        let why = row.reason.as_deref().filter(|_| row.undo_of.is_none());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        format!("{}  {}, {} calls so far{why}", when(row.tick * 1000), row.status.name(), row.attempts)
    };
    section(&mut told, "Course", rows.iter().map(row).collect());
    section(&mut told, "Outcomes", outcomes.iter().map(words::outcome).collect());
    let mut calls: Vec<String> = intent.iter().map(intent_text).collect();
    calls.extend(known.iter().map(known_text));
    section(&mut told, "Ledger", calls);
    let json = json!({
        "kind": "action",
        "rows": rows.iter().map(words::action_json).collect::<Vec<_>>(),
        "outcomes": outcomes.iter().map(words::outcome_json).collect::<Vec<_>>(),
        "intent": intent.as_ref().map(|intent| json!({ "epoch": intent.epoch, "order": intent.order })),
        "ledger": known.iter().map(known_json).collect::<Vec<_>>(),
    });
    Ok(Said { lines: told, json })
}

fn ledger(source: &Source, id: ActionId) -> Result<(Option<Intent>, Vec<Known>), Failure> {
    match Ledger::look(&source.archive.join(STATE_FOLDER))? {
        Some(ledger) => Ok((ledger.intent(id)?, ledger.known(id)?)),
        None => Ok((None, Vec::new())),
    }
}

fn intent_text(intent: &Intent) -> String {
    let order = &intent.order;
    format!(
        "{}  intent, epoch {}: playbook {}, step {}, by {}; {}",
        when(order.requested * 1000),
        intent.epoch,
        order.playbook,
        order.step,
        order.agent,
        order.parameters
    )
}

fn known_text(known: &Known) -> String {
    format!(
        "{}  {} after {} calls: {}",
        when(known.tick * 1000),
        known.status.name(),
        known.attempts,
        known.detail
    )
}

fn known_json(known: &Known) -> Value {
    json!({ "status": known.status, "attempts": known.attempts, "tick": known.tick, "detail": known.detail })
}
