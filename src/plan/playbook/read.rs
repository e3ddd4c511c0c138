//! From text to a playbook: every fault of a file at once, each with its line where it can be told.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Applicability, EXTENSION, EXTENSION_VERSION, Next, Playbook, STEPS_MAX, Step, StepKind, command, graph,
};
use crate::plan::canonical;
use crate::plan::fault::Fault;
use crate::record::Millis;
use crate::record::attack::{Tactics, canonical as canonical_attacks};

/// Descriptive properties: taken, not read. Leaving them out changes nothing of what is done.
const DESCRIPTIVE: [&str; 15] = [
    "description",
    "playbook_types",
    "playbook_activities",
    "playbook_processing_summary",
    "created_by",
    "created",
    "modified",
    "derived_from",
    "related_to",
    "priority",
    "severity",
    "industry_sectors",
    "external_references",
    "markings",
    "data_marking_definitions",
];
const READ: [&str; 16] = [
    "type",
    "spec_version",
    "id",
    "name",
    "revoked",
    "valid_from",
    "valid_until",
    "impact",
    "labels",
    "playbook_variables",
    "workflow_start",
    "workflow_exception",
    "workflow",
    "playbook_extensions",
    "agent_definitions",
    "extension_definitions",
];
const REQUIRED: [&str; 9] =
    ["type", "spec_version", "id", "name", "created_by", "created", "modified", "workflow_start", "workflow"];
const STEP: [&str; 11] = [
    "type",
    "name",
    "description",
    "external_references",
    "owner",
    "delay",
    "timeout",
    "on_completion",
    "on_success",
    "on_failure",
    "step_extensions",
];
const ACTION: [&str; 3] = ["commands", "agent", "in_args"];

/// Collects faults of one file.
pub(super) struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    pub(super) faults: Vec<Fault>,
}

impl Reader<'_> {
    /// `keys` lead to the place, outermost first: each is looked for behind the one before.
    pub(super) fn fault(&mut self, keys: &[&str], what: impl Into<String>, cure: &str) {
        let line = self.line(keys);
        self.faults.push(Fault {
            file: self.file.to_owned(),
            line,
            what: what.into(),
            cure: cure.to_owned(),
        });
    }

    fn line(&self, keys: &[&str]) -> Option<u64> {
        let mut at = 0;
        for key in keys {
            let quoted = Value::String((*key).to_owned()).to_string();
            at = self.key(&quoted, at)?;
        }
        (!keys.is_empty()).then(|| self.text[..at].bytes().filter(|byte| *byte == b'\n').count() as u64 + 1)
    }

    /// Where `quoted` stands as a key (a colon behind it), from `from` on.
    fn key(&self, quoted: &str, from: usize) -> Option<usize> {
        self.text[from..]
            .match_indices(quoted)
            .map(|(at, _)| from + at)
            .find(|at| self.text[at + quoted.len()..].trim_start().starts_with(':'))
    }

    pub(super) fn unknown_fields(&mut self, keys: &[&str], map: &Map<String, Value>, known: &[&[&str]]) {
        for field in map.keys().filter(|field| !known.iter().any(|list| list.contains(&field.as_str()))) {
            let place: Vec<&str> = keys.iter().copied().chain([field.as_str()]).collect();
            self.fault(&place, format!("property {field:?} is not supported"), "remove it");
        }
    }

    fn string<'v>(&mut self, keys: &[&str], map: &'v Map<String, Value>, field: &str) -> Option<&'v str> {
        let value = map.get(field)?;
        if value.as_str().is_none() {
            let place: Vec<&str> = keys.iter().copied().chain([field]).collect();
            self.fault(&place, format!("{field} is not a string"), "write it as one");
        }
        value.as_str()
    }

    pub(super) fn typed<T: DeserializeOwned>(&mut self, keys: &[&str], value: &Value) -> Option<T> {
        serde_json::from_value(value.clone())
            .map_err(|error| {
                self.fault(keys, error.to_string(), "see the extension's schema (`quell schema`)");
            })
            .ok()
    }
}

/// Reads one playbook.
///
/// # Errors
/// All its faults.
pub fn read(file: &Path, text: &str) -> Result<Playbook, Vec<Fault>> {
    let mut reader = Reader { file, text, faults: Vec::new() };
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(error) => {
            reader.fault(&[], format!("is not JSON: {error}"), "mend the JSON");
            reader.faults[0].line = Some(error.line() as u64);
            return Err(reader.faults);
        }
    };
    let Some(top) = value.as_object() else {
        reader.fault(&[], "is not a JSON object", "give one CACAO playbook a file");
        return Err(reader.faults);
    };
    let playbook = document(&mut reader, top, &value);
    match playbook {
        Some(playbook) if reader.faults.is_empty() => Ok(playbook),
        Some(_) | None => Err(reader.faults),
    }
}

fn document(reader: &mut Reader<'_>, top: &Map<String, Value>, value: &Value) -> Option<Playbook> {
    header(reader, top);
    variables(reader, top);
    let valid_from = time(reader, top, "valid_from");
    let valid_until = time(reader, top, "valid_until");
    let applies = applicability(reader, top);
    let agents = agents(reader, top);
    let labels =
        top.get("labels").map_or_else(|| Some(Vec::new()), |labels| reader.typed(&["labels"], labels));
    let impact = match top.get("impact").map(Value::as_u64) {
        None => 0,
        Some(Some(impact @ 0..=100)) => u8::try_from(impact).unwrap_or(100),
        Some(_) => {
            reader.fault(&["impact"], "impact is not a number from 0 to 100", "give one");
            0
        }
    };
    let workflow = top.get("workflow").and_then(Value::as_object);
    let Some(workflow) = workflow.filter(|steps| steps.len() <= STEPS_MAX) else {
        reader.fault(
            &["workflow"],
            format!("workflow is not an object of at most {STEPS_MAX} steps"),
            "give one",
        );
        return None;
    };
    let places: BTreeMap<&str, usize> =
        sorted(workflow).into_iter().enumerate().map(|(at, (id, _))| (id.as_str(), at)).collect();
    let mut steps = Vec::with_capacity(workflow.len());
    for (id, body) in sorted(workflow) {
        steps.extend(step(reader, id, body, &places, &agents));
    }
    let start = reference(reader, &["workflow_start"], top.get("workflow_start"), &places);
    let exception = match top.get("workflow_exception") {
        None => None,
        some => reference(reader, &["workflow_exception"], some, &places),
    };
    // Steps that could not be read have left a gap: places would lie.
    if steps.len() == workflow.len()
        && let Some(start) = start
    {
        graph::check(reader, &steps, start, exception);
    }
    let text = |field: &str| top.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Playbook {
        id: text("id"),
        name: text("name"),
        labels: labels?,
        file: reader.file.to_owned(),
        hash: canonical::hash(value),
        impact,
        valid_from,
        valid_until,
        applies: applies?,
        steps,
        start: start?,
        exception,
    })
}

fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

fn header(reader: &mut Reader<'_>, top: &Map<String, Value>) {
    reader.unknown_fields(&[], top, &[&DESCRIPTIVE, &READ]);
    for field in REQUIRED.iter().filter(|field| !top.contains_key(**field)) {
        reader.fault(&[], format!("property {field:?} is missing"), "CACAO 2.0 asks for it");
    }
    for (field, wanted) in [("type", "playbook"), ("spec_version", "cacao-2.0")] {
        if let Some(found) = reader.string(&[], top, field).filter(|found| *found != wanted) {
            reader.fault(&[field], format!("{field} is {found:?}"), &format!("only {wanted:?} is supported"));
        }
    }
    if let Some(id) = reader.string(&[], top, "id").filter(|id| !is_identifier(id, "playbook")) {
        reader.fault(&["id"], format!("{id:?} is not `playbook--` and a UUID"), "give it one");
    }
    reader.string(&[], top, "name");
    if top.get("revoked").is_some_and(|revoked| revoked != &Value::Bool(false)) {
        reader.fault(&["revoked"], "is revoked", "remove the file: a revoked playbook is never run");
    }
}

/// `kind--UUID`, as CACAO 10.10 has it.
pub(super) fn is_identifier(id: &str, kind: &str) -> bool {
    let Some(uuid) = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix("--")) else { return false };
    uuid.len() == 36
        && uuid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn variables(reader: &mut Reader<'_>, top: &Map<String, Value>) {
    let Some(value) = top.get("playbook_variables") else { return };
    let Some(map) = value.as_object() else {
        reader.fault(&["playbook_variables"], "playbook_variables is not an object", "write it as one");
        return;
    };
    for (name, body) in map {
        let external = body.get("external") == Some(&Value::Bool(true));
        if !["__target__", "__incident__"].contains(&name.as_str()) || !external {
            reader.fault(
                &["playbook_variables", name],
                format!("variable {name:?} is not supported"),
                "only `__target__` and `__incident__` are, as external ones",
            );
        }
    }
}

fn time(reader: &mut Reader<'_>, top: &Map<String, Value>, field: &str) -> Option<Millis> {
    let text = reader.string(&[], top, field)?;
    let time = text.parse::<jiff::Timestamp>();
    if time.is_err() {
        reader.fault(&[field], format!("{field} is not a timestamp"), "write it as 2026-01-31T00:00:00.000Z");
    }
    time.ok().map(jiff::Timestamp::as_millisecond)
}

fn applicability(reader: &mut Reader<'_>, top: &Map<String, Value>) -> Option<Applicability> {
    let version =
        top.get("extension_definitions").and_then(|all| all.get(EXTENSION)?.get("version")?.as_str());
    if version != Some(EXTENSION_VERSION) {
        let what = format!("Quell's extension is declared in version {version:?}, not {EXTENSION_VERSION:?}");
        reader.fault(
            &["extension_definitions"],
            what,
            &format!("declare {EXTENSION} in extension_definitions"),
        );
    }
    let body = extension(reader, &[], top.get("playbook_extensions"), "playbook_extensions")?;
    let applies: Applicability = reader.typed(&["playbook_extensions", EXTENSION], body)?;
    for tactic in applies.tactics.iter().filter(|tactic| Tactics::parse(tactic).is_none()) {
        let keys = ["playbook_extensions", "tactics"];
        reader.fault(&keys, format!("{tactic:?} is no tactic of ATT&CK Enterprise"), "use an id like TA0008");
    }
    for technique in applies.techniques.iter().filter(|text| canonical_attacks([text.as_str()]).1 != **text) {
        let keys = ["playbook_extensions", "techniques"];
        reader.fault(&keys, format!("{technique:?} is not a technique's id"), "use T1021 or T1021.002");
    }
    Some(applies)
}

/// Quell's part of an extensions dictionary; other extensions are refused, since they may mean anything.
pub(super) fn extension<'v>(
    reader: &mut Reader<'_>,
    keys: &[&str],
    all: Option<&'v Value>,
    field: &'static str,
) -> Option<&'v Value> {
    let place: Vec<&str> = keys.iter().copied().chain([field]).collect();
    let map = all.and_then(Value::as_object);
    for other in map.into_iter().flat_map(Map::keys).filter(|id| *id != EXTENSION) {
        reader.fault(&place, format!("extension {other:?} is not supported"), "remove it");
    }
    let body = map.and_then(|map| map.get(EXTENSION));
    if body.is_none() {
        let place = if all.is_some() { place } else { keys.to_vec() };
        reader.fault(&place, format!("{field} lacks Quell's extension"), &format!("add {EXTENSION}"));
    }
    body
}

fn agents(reader: &mut Reader<'_>, top: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut agents = BTreeMap::new();
    for (id, body) in top.get("agent_definitions").and_then(Value::as_object).into_iter().flatten() {
        match body.get("name").and_then(Value::as_str) {
            Some(name) => _ = agents.insert(id.clone(), name.to_owned()),
            None => reader.fault(&["agent_definitions", id], format!("agent {id} has no name"), "name it"),
        }
    }
    agents
}

fn step(
    reader: &mut Reader<'_>,
    id: &str,
    body: &Value,
    places: &BTreeMap<&str, usize>,
    agents: &BTreeMap<String, String>,
) -> Option<Step> {
    let keys = ["workflow", id];
    let Some(map) = body.as_object() else {
        reader.fault(&keys, format!("step {id} is not an object"), "write it as one");
        return None;
    };
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let (own, known): (&[&str], bool) = match kind {
        "start" | "end" => (&[], true),
        "action" => (&ACTION, true),
        "parallel" => (&["next_steps"], true),
        _ => (&[], false),
    };
    if !known {
        let cure = "supported are start, end, action and parallel";
        reader.fault(&keys, format!("step {id}: step type {kind:?} is not supported"), cure);
        return None;
    }
    if !is_identifier(id, kind) {
        reader.fault(&keys, format!("step id {id:?} is not `{kind}--` and a UUID"), "give it one");
    }
    reader.unknown_fields(&keys, map, &[&STEP, own]);
    let next = next(reader, &keys, map, places);
    let step_kind = match kind {
        "start" => StepKind::Start,
        "end" => StepKind::End,
        "parallel" => StepKind::Parallel(branches(reader, &keys, map, places)?),
        _ => StepKind::Action(Box::new(command::action(reader, &keys, map, agents)?)),
    };
    Some(Step {
        id: id.to_owned(),
        name: map.get("name").and_then(Value::as_str).unwrap_or(id).to_owned(),
        delay_ms: millis(reader, &keys, map, "delay").unwrap_or(0),
        timeout_ms: millis(reader, &keys, map, "timeout"),
        kind: step_kind,
        next,
    })
}

fn millis(reader: &mut Reader<'_>, keys: &[&str; 2], map: &Map<String, Value>, field: &str) -> Option<u64> {
    const WEEK_MS: u64 = 7 * 24 * 3_600_000;
    let value = map.get(field)?;
    let millis = value.as_u64().filter(|millis| *millis <= WEEK_MS);
    if millis.is_none() {
        let what = format!("{field} is not a number of milliseconds up to a week");
        reader.fault(&[keys[0], keys[1], field], what, "give one");
    }
    millis
}

fn reference(
    reader: &mut Reader<'_>,
    keys: &[&str],
    value: Option<&Value>,
    places: &BTreeMap<&str, usize>,
) -> Option<usize> {
    let place = value.and_then(Value::as_str).and_then(|id| places.get(id)).copied();
    if place.is_none() {
        let named = value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let field = keys.last().copied().unwrap_or_default();
        reader.fault(keys, format!("{field} names {named}, which is no step"), "name a step of the workflow");
    }
    place
}

fn next(
    reader: &mut Reader<'_>,
    keys: &[&str; 2],
    map: &Map<String, Value>,
    places: &BTreeMap<&str, usize>,
) -> Next {
    let mut step = |field: &'static str| match map.get(field) {
        None => None,
        some => reference(reader, &[keys[0], keys[1], field], some, places),
    };
    let (always, success, failure) = (step("on_completion"), step("on_success"), step("on_failure"));
    if always.is_some() && (success.is_some() || failure.is_some()) {
        reader.fault(
            keys,
            format!("step {} has on_completion beside others", keys[1]),
            "keep one of the two ways",
        );
    }
    match (always, success, failure) {
        (Some(step), _, _) => Next::Always(step),
        (None, Some(success), failure) => Next::ByResult { success, failure },
        (None, None, Some(_)) => {
            reader.fault(
                keys,
                format!("step {} has on_failure without on_success", keys[1]),
                "add on_success",
            );
            Next::Nowhere
        }
        (None, None, None) => Next::Nowhere,
    }
}

fn branches(
    reader: &mut Reader<'_>,
    keys: &[&str; 2],
    map: &Map<String, Value>,
    places: &BTreeMap<&str, usize>,
) -> Option<Vec<usize>> {
    let place = [keys[0], keys[1], "next_steps"];
    let Some(list) = map.get("next_steps").and_then(Value::as_array).filter(|list| list.len() >= 2) else {
        reader.fault(
            &place,
            "next_steps is not a list of two steps or more",
            "go on with on_completion instead",
        );
        return None;
    };
    list.iter().map(|id| reference(reader, &place, Some(id), places)).collect()
}
