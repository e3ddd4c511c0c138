//! An action step: its one command, its agent, and its part of the extension.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::read::{Reader, extension};
use super::{Action, Parameters, TargetKind};
use crate::plan::openc2;
use crate::record::Verb;

const COMMAND: [&str; 6] =
    ["type", "description", "version", "playbook_activity", "external_references", "command"];

pub(super) fn action(
    reader: &mut Reader<'_>,
    keys: &[&str; 2],
    map: &Map<String, Value>,
    agents: &BTreeMap<String, String>,
) -> Option<Action> {
    in_args(reader, keys, map);
    let agent = map.get("agent").and_then(Value::as_str).and_then(|id| agents.get(id)).cloned();
    if agent.is_none() {
        let cure = "name one of agent_definitions";
        reader.fault(
            &[keys[0], keys[1], "agent"],
            format!("step {} has no agent that is defined", keys[1]),
            cure,
        );
    }
    let command = match map.get("commands").and_then(Value::as_array).map(Vec::as_slice) {
        Some([command]) => self::command(reader, keys, command),
        Some(_) | None => {
            let cure = "give each command a step of its own, so that each has its own identity and result";
            reader.fault(keys, format!("step {} has not exactly one command", keys[1]), cure);
            None
        }
    };
    let body = extension(reader, keys, map.get("step_extensions"), "step_extensions")?;
    let parameters: Parameters = reader.typed(&[keys[0], keys[1], "step_extensions"], body)?;
    check_parameters(reader, keys, &parameters);
    let (verb, command) = command?;
    if let Some(verb) = verb.filter(|verb| *verb != parameters.verb) {
        let what =
            format!("the OpenC2 action means {}, the extension says {}", verb.name(), parameters.verb.name());
        reader.fault(keys, what, "make them equal");
    }
    if verb.is_some() && matches!(parameters.target, TargetKind::Entity(_)) && !openc2::names_target(&command)
    {
        let what = format!("step {} acts on entities, but its OpenC2 command does not name them", keys[1]);
        reader.fault(keys, what, &format!("use {:?} in its target", openc2::TARGET));
    }
    Some(Action { parameters, agent: agent?, command })
}

fn in_args(reader: &mut Reader<'_>, keys: &[&str; 2], map: &Map<String, Value>) {
    let Some(value) = map.get("in_args") else { return };
    let known = |item: &Value| matches!(item.as_str(), Some("__target__" | "__incident__"));
    if !value.as_array().is_some_and(|list| list.iter().all(known)) {
        let cure = "only `__target__` and `__incident__` are supported";
        reader.fault(&[keys[0], keys[1], "in_args"], "in_args names a variable without a source", cure);
    }
}

fn command(reader: &mut Reader<'_>, keys: &[&str; 2], value: &Value) -> Option<(Option<Verb>, Value)> {
    let map = value.as_object()?;
    let place = [keys[0], keys[1], "commands"];
    match map.get("type").and_then(Value::as_str) {
        Some("openc2-http") => {
            reader.unknown_fields(&place, map, &[&COMMAND, &["content_b64"]]);
            let line = map.get("command").and_then(Value::as_str).unwrap_or_default();
            if !line.starts_with("POST /") {
                reader.fault(
                    &place,
                    format!("{line:?} is no HTTP start line with POST"),
                    "write `POST /... HTTP/1.1`",
                );
            }
            let content = map.get("content_b64").and_then(Value::as_str).unwrap_or_default();
            match openc2::decode(content) {
                Ok((verb, command)) => Some((Some(verb), command)),
                Err(what) => {
                    reader.fault(&[keys[0], keys[1], "content_b64"], what, "mend the OpenC2 command");
                    None
                }
            }
        }
        Some("manual") => {
            reader.unknown_fields(&place, map, &[&COMMAND]);
            let text = map.get("command").and_then(Value::as_str);
            if text.is_none() {
                reader.fault(&place, "the manual command has no text", "write it as `command`");
            }
            let command = serde_json::json!({ "manual": text? });
            if let Err(what) = openc2::check_variables(&command) {
                reader.fault(&place, what, "the target is told beside the text: leave it out");
            }
            Some((None, command))
        }
        other => {
            let kind = other.unwrap_or_default();
            let what = format!("step {}: command type {kind:?} is not supported", keys[1]);
            reader.fault(&place, what, "supported are openc2-http and manual");
            None
        }
    }
}

fn check_parameters(reader: &mut Reader<'_>, keys: &[&str; 2], parameters: &Parameters) {
    let place = [keys[0], keys[1], "step_extensions"];
    if parameters.impact > 100 {
        reader.fault(&place, "impact is above 100", "give 0 to 100");
    }
    if parameters.reversible != parameters.undo.is_some() {
        reader.fault(
            &place,
            "`reversible` and `undo` contradict each other",
            "a reversible step names its undo verb",
        );
    }
    if parameters.ttl_s.is_some() && !parameters.reversible {
        reader.fault(&place, "ttl_s on a step that cannot be undone", "remove it, or name the undo verb");
    }
    if parameters.ttl_s == Some(0) || parameters.targets_max == Some(0) {
        reader.fault(&place, "ttl_s and targets_max are at least 1", "give a number, or leave it out");
    }
}
