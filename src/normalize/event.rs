//! Event: a record as Sigma rules see it: fields by the rules' names, wherever the mapping says that they lie.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rsigma_eval::{EventValue, JsonEvent};
use rustc_hash::FxHashMap;
use serde_json::Value;
use smallvec::SmallVec;

use crate::plan::detection::{Derived, Detection, Root};
use crate::plan::mapping::FieldPath;

/// Where rules' fields lie, ready for looking up.
pub(super) struct Layout {
    roots: Vec<Root>,
    names: FxHashMap<String, Vec<String>>,
    device_paths: Vec<FieldPath>,
    base_names: Vec<FieldPath>,
    derived: BTreeMap<String, Derived>,
}

/// A record with its roots found. Nothing of it is copied.
pub(super) struct Event<'a> {
    record: JsonEvent<'a>,
    roots: SmallVec<[JsonEvent<'a>; 4]>,
    layout: &'a Layout,
}

/// Objects that one root may stand for; attackers choose how many there are.
const ROOTS_MAX: usize = 16;

impl Layout {
    pub(super) fn new(detection: &Detection) -> Layout {
        let names = detection.fields.iter().map(|(name, here)| (name.clone(), here.0.clone())).collect();
        let (device_paths, base_names) = (detection.device_paths.clone(), detection.base_names.clone());
        let (roots, derived) = (detection.roots.clone(), detection.derived.clone());
        Layout { roots, names, device_paths, base_names, derived }
    }

    /// Makes of the record what rules expect: roots that are JSON within a text are read, and paths have a drive.
    pub(super) fn prepare(&self, record: &mut Value) {
        for root in self.roots.iter().filter(|root| !root.keys.is_empty()) {
            if let Some(place) = reach(record, root.keys.iter().map(String::as_str))
                && let Value::String(text) = place
                && text.starts_with('{')
                && let Ok(inner) = serde_json::from_str(text)
            {
                *place = inner;
            }
        }
        for path in &self.device_paths {
            rewrite(record, path, with_drive);
        }
        for path in &self.base_names {
            rewrite(record, path, |name| (!name.contains('\\')).then(|| format!("\\{name}")));
        }
        for (name, Derived { field, table }) in &self.derived {
            let look =
                |path: &FieldPath| path.text().split('.').try_fold(&*record, |place, key| place.get(key));
            let found = field.0.iter().find_map(|path| look(path)?.as_str());
            if let Some(value) = found.and_then(|found| table.get(found)).cloned()
                && let Some(fields) = record.as_object_mut()
            {
                fields.entry(name.clone()).or_insert(Value::String(value));
            }
        }
    }

    pub(super) fn event<'a>(&'a self, record: &'a Value) -> Event<'a> {
        let mut roots = SmallVec::new();
        for root in &self.roots {
            let Some(place) = root.keys.iter().try_fold(record, |place, key| place.get(key)) else {
                continue;
            };
            if root.within {
                let inner = place.as_object().into_iter().flat_map(serde_json::Map::values);
                roots.extend(inner.filter(|value| value.is_object()).take(ROOTS_MAX).map(JsonEvent::borrow));
            } else if place.is_object() {
                roots.push(JsonEvent::borrow(place));
            }
        }
        Event { record: JsonEvent::borrow(record), roots, layout: self }
    }
}

fn reach<'v, 'k>(record: &'v mut Value, mut keys: impl Iterator<Item = &'k str>) -> Option<&'v mut Value> {
    keys.try_fold(record, |place, key| place.get_mut(key))
}

fn rewrite(record: &mut Value, path: &FieldPath, how: impl Fn(&str) -> Option<String>) {
    if let Some(place) = reach(record, path.text().split('.'))
        && let Some(text) = place.as_str().filter(|text| !text.is_empty()).and_then(how)
    {
        *place = Value::String(text);
    }
}

/// Which volume is which drive only the host knows; the one that Windows lies on is C on nearly all.
fn with_drive(path: &str) -> Option<String> {
    const VOLUME: &str = "\\Device\\HarddiskVolume";
    let (volume, rest) = path.split_at_checked(VOLUME.len())?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    (volume.eq_ignore_ascii_case(VOLUME) && rest.starts_with('\\')).then(|| format!("C:{rest}"))
}

impl Event<'_> {
    fn look(&self, name: &str) -> Option<EventValue<'_>> {
        self.roots.iter().find_map(|root| rsigma_eval::Event::get_field(root, name))
    }
}

impl rsigma_eval::Event for Event<'_> {
    fn get_field(&self, name: &str) -> Option<EventValue<'_>> {
        match self.layout.names.get(name) {
            Some(here) => here.iter().find_map(|name| self.look(name)),
            None => self.look(name),
        }
    }

    fn any_string_value(&self, holds: &dyn Fn(&str) -> bool) -> bool {
        self.record.any_string_value(holds)
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        self.record.all_string_values()
    }

    fn visit_string_values(&self, visit: &mut dyn FnMut(&str)) {
        self.record.visit_string_values(visit);
    }

    fn to_json(&self) -> Value {
        self.record.to_json()
    }
}

#[cfg(test)]
mod tests {
    use rsigma_eval::Event as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_made_what_rules_expect() {
        let detection: Detection = serde_json::from_value(json!({
            "logsource": {}, "roots": ["event", "properties.log"],
            "device_paths": ["event.Image", "event.Other"], "base_names": ["event.Parent", "event.Whole"],
            "derived": { "Initiated": { "field": ["none", "event.Direction"], "table": { "%%1": "true" } } },
        }))
        .unwrap();
        let mut record = json!({
            "event": { "Image": r"\device\harddiskvolume12\a.exe", "Other": r"\Device\Mup\a", "Parent": "b.exe", "Whole": r"C:\c", "Direction": "%%1" },
            "properties": { "log": r#"{"verb":"get"}"# },
        });
        Layout::new(&detection).prepare(&mut record);
        let wanted = json!({
            "event": { "Image": r"C:\a.exe", "Other": r"\Device\Mup\a", "Parent": r"\b.exe", "Whole": r"C:\c", "Direction": "%%1" },
            "properties": { "log": { "verb": "get" } },
            "Initiated": "true",
        });
        assert_eq!(record, wanted);
    }

    #[test]
    fn fields_are_found_in_every_root_and_under_every_name() {
        let detection: Detection = serde_json::from_value(json!({
            "logsource": { "product": "windows" },
            "roots": ["record", "Event.EventData", "Event.System", "Event.UserData.*"],
            "fields": { "Image": ["Image", "NewProcessName"], "EventID": ["EventID.#text", "EventID"] },
        }))
        .unwrap();
        let layout = Layout::new(&detection);
        let of = |record: &Value, name: &str| {
            layout.event(record).get_field(name).and_then(|value| value.as_str().map(Cow::into_owned))
        };
        let flat = json!({ "EventID": 4688, "NewProcessName": "a.exe", "a": { "b": [1, 2] } });
        assert_eq!(of(&flat, "Image").as_deref(), Some("a.exe"));
        assert_eq!(of(&flat, "EventID").as_deref(), Some("4688"));
        assert_eq!(of(&flat, "ParentImage"), None);
        assert_eq!(
            layout.event(&flat).get_field("a.b"),
            Some(EventValue::Array(vec![EventValue::Int(1), EventValue::Int(2)]))
        );
        let nested = json!({ "Event": {
            "System": { "EventID": { "#text": 7045 } },
            "EventData": null,
            "UserData": { "ServiceInstalled": { "ServiceName": "x" }, "b": 1 },
        } });
        assert_eq!(of(&nested, "EventID").as_deref(), Some("7045"));
        assert_eq!(of(&nested, "ServiceName").as_deref(), Some("x"));
        assert!(layout.event(&nested).any_string_value(&|text| text == "x"));
    }
}
