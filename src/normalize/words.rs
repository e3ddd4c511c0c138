//! Words: what was worked out of a record's texts, each once.
//!
//! State: memos of bounded size; nothing that an answer depends on.

use std::sync::Arc;

use smallvec::SmallVec;

use super::canonical::{capped, clean};
use super::compile::{Compiled, Plan};
use super::detect::Said;
use super::memo::Memo;
use super::refusal::Refusal;
use super::value::{Digits, Slots, Value};
use crate::record::{Entity, Names, Observable, Role, Severity, Sym, Tactics, attack};

/// Entities of one alert; attackers choose how long lists are.
const ENTITIES_MAX: usize = 64;

/// What was worked out of texts.
pub(super) struct Words {
    pub(super) names: Arc<Names>,
    syms: Memo<Sym>,
    /// Empty where the text says nothing.
    entities: Memo<Sym>,
    severities: Memo<Severity>,
    attacks: Memo<(Tactics, Sym)>,
    routes: Memo<u16>,
    scratch: String,
    hashes: Vec<u64>,
}

impl Words {
    pub(super) fn new(names: Arc<Names>) -> Self {
        Words {
            names,
            syms: Memo::new(12),
            entities: Memo::new(17),
            severities: Memo::new(10),
            attacks: Memo::new(10),
            routes: Memo::new(10),
            scratch: String::new(),
            hashes: Vec::new(),
        }
    }

    pub(super) fn sym(&mut self, text: &str) -> Sym {
        let names = &self.names;
        self.syms.get(0, text, |text| names.intern(text))
    }

    fn first(&mut self, slots: &Slots<'_>, from: &[u16]) -> Option<Sym> {
        let mut digits: Digits = [0; 40];
        let text = slots.first(from).text(&mut digits).map(capped).filter(|text| !text.is_empty())?;
        Some(self.sym(text))
    }

    /// What a record that is an alert says of itself.
    pub(super) fn said(&mut self, slots: &Slots<'_>, mapping: &Plan, at: usize) -> Result<Said, Refusal> {
        let rule = self.first(slots, &mapping.rule).ok_or(Refusal::NoRule)?;
        let title = self.first(slots, &mapping.title).unwrap_or(rule);
        let severity = self.severity(slots, mapping, u32::try_from(at).unwrap_or(u32::MAX));
        let (tactics, attacks) = self.attacks(slots, &mapping.attacks);
        Ok(Said { rule, title, severity, tactics, attacks })
    }

    /// What `make` says of an event's service and category, remembered.
    pub(super) fn route(
        &mut self,
        tag: u32,
        service: Option<&str>,
        category: Option<&str>,
        make: impl FnOnce() -> u16,
    ) -> u16 {
        self.scratch.clear();
        self.scratch.push_str(service.unwrap_or_default());
        self.scratch.push('\u{1f}');
        self.scratch.push_str(category.unwrap_or_default());
        self.routes.get(tag, &self.scratch, |_| make())
    }

    /// The vendor's id: of several fields, all of which must be there. A number that lost digits when it was read names
    /// nothing: others would share it, and be taken for copies.
    pub(super) fn vendor_id(&mut self, slots: &Slots<'_>, from: &[Box<[u16]>]) -> Option<&str> {
        self.scratch.clear();
        for (at, part) in from.iter().enumerate() {
            let mut digits: Digits = [0; 40];
            let value = slots.first(part);
            let text = value.text(&mut digits).filter(|_| value.is_exact())?;
            if at > 0 {
                self.scratch.push('\u{1f}');
            }
            self.scratch.push_str(text);
        }
        (!from.is_empty()).then_some(self.scratch.as_str())
    }

    fn severity(&mut self, slots: &Slots<'_>, mapping: &Plan, tag: u32) -> Severity {
        let table = &mapping.severity;
        let mut digits: Digits = [0; 40];
        let Some(text) = slots.first(&mapping.severity_slots).text(&mut digits) else { return table.default };
        self.severities.get(tag, text, |text| {
            let word = capped(text).to_lowercase();
            let number = word.parse::<f64>().ok();
            let range = || table.ranges.iter().find(|r| number.is_some_and(|n| r.from <= n && n <= r.to));
            let part = || table.contains.iter().find(|part| word.contains(&part.text));
            let known = table.words.get(&word).copied();
            known
                .or_else(|| range().map(|r| r.severity))
                .or_else(|| part().map(|p| p.severity))
                .unwrap_or(table.default)
        })
    }

    fn attacks(&mut self, slots: &Slots<'_>, from: &[u16]) -> (Tactics, Sym) {
        self.scratch.clear();
        for value in from.iter().flat_map(|slot| slots.all(*slot)) {
            let mut digits: Digits = [0; 40];
            self.scratch.push_str(value.text(&mut digits).map(capped).unwrap_or_default());
            self.scratch.push(',');
        }
        let tags = std::mem::take(&mut self.scratch);
        let attacks = self.tags(&tags);
        self.scratch = tags;
        attacks
    }

    /// What comma-separated tags say of ATT&CK.
    pub(super) fn tags(&mut self, tags: &str) -> (Tactics, Sym) {
        if tags.is_empty() {
            return (Tactics::default(), Sym::EMPTY);
        }
        let names = &self.names;
        self.attacks.get(0, tags, |tags| {
            let (tactics, attacks) = attack::canonical(tags.split(','));
            (tactics, names.intern(&attacks))
        })
    }

    /// Asks for what `entities` will look up in these by the mapping, all of it at once: memory answers many as fast as one.
    /// Where another mapping takes them, nothing is gained.
    pub(super) fn warm(&mut self, each: &[Slots<'_>], mapping: &Plan) {
        self.hashes.clear();
        for slots in each {
            let asked = mapping.asked.of(slots).map(|at| &mapping.entities[at]);
            for entity in asked.filter(|entity| !entity.spare) {
                for value in entity.values(slots) {
                    if let Value::Text(text) = value {
                        self.hashes.extend(Memo::<Sym>::place(entity.cleaning, text));
                    }
                }
            }
        }
        self.entities.warm(&self.hashes);
    }

    pub(super) fn entities(
        &mut self,
        slots: &Slots<'_>,
        plan: &Compiled,
        mapping: &Plan,
    ) -> SmallVec<[Observable; 4]> {
        let mut found = SmallVec::new();
        // What nobody asks for matters only where it takes the room of what somebody does.
        let roomy = slots.are_single() && mapping.entities.len() <= ENTITIES_MAX;
        let asked = mapping.asked.of(slots).map(|at| &mapping.entities[at]);
        for entity in asked.filter(|entity| !(entity.spare && roomy)) {
            let cleaning = &plan.cleanings[entity.cleaning as usize];
            for value in entity.values(slots) {
                let mut digits: Digits = [0; 40];
                let Some(text) = value.text(&mut digits) else { continue };
                let names = &self.names;
                let value = self.entities.get(entity.cleaning, text, |text| {
                    clean(cleaning, text).map_or(Sym::EMPTY, |value| names.intern(&value))
                });
                if value == Sym::EMPTY {
                    continue;
                }
                let observable =
                    Observable { entity: Entity { kind: cleaning.kind, value }, role: entity.role };
                if found.len() < ENTITIES_MAX && !is_told(&found, observable) {
                    found.push(observable);
                }
            }
        }
        found
    }
}

/// Whether that adds nothing: that an alert is about something besides is no news where it says in which part.
fn is_told(found: &[Observable], new: Observable) -> bool {
    let same = |known: &Observable| known.entity == new.entity;
    found.iter().any(|known| same(known) && (known.role == new.role || new.role == Role::Related))
}
