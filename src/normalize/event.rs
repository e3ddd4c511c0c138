//! Event: a record as Sigma rules see it: fields by the rules' names, wherever the mapping says that they lie.

use std::borrow::Cow;

use rsigma_eval::{EventValue, JsonEvent};
use rustc_hash::FxHashMap;
use serde_json::Value;
use smallvec::SmallVec;

use crate::plan::detection::{Detection, Root};

/// Where rules' fields lie, ready for looking up.
pub(super) struct Layout {
    roots: Vec<Root>,
    names: FxHashMap<String, Vec<String>>,
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
        Layout { roots: detection.roots.clone(), names }
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
