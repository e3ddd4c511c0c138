//! Observe: what records of no concern name, counted by day while a chunk is read.
//!
//! State: an entry per distinct text and day of one chunk; [`DISTINCT_MAX`] at most, the first met.

use rustc_hash::FxHashMap;

use super::canonical::clean;
use super::compile::{Compiled, Plan};
use super::normalizer::Normalizer;
use super::value::{Digits, Slots};
use crate::record::{Millis, Observed, Sym};

/// Distinct texts of one chunk; attackers choose how many there are.
const DISTINCT_MAX: usize = 64 << 10;

const DAY_MS: Millis = 24 * 3600 * 1000;

/// What a chunk's records name.
#[derive(Default)]
pub(super) struct Observing {
    /// By whose it is, how it is cleaned, its text as it stands, and the day.
    found: FxHashMap<(Sym, u32, String, i64), Span>,
}

struct Span {
    records: u64,
    first: Millis,
    last: Millis,
}

impl Normalizer {
    /// Notes what a record of no concern names; of one without a time or a tenant nothing can be noted.
    pub(super) fn observe(&mut self, plan: &Compiled, mapping: &Plan, slots: &Slots<'_>) {
        if let Ok(time) = self.time(mapping, slots)
            && let Ok((tenant, _)) = self.tenant(mapping, slots)
        {
            self.observing.record((plan, mapping), slots, tenant, time);
        }
    }
}

impl Observing {
    /// Notes what a record at `time` names.
    pub(super) fn record(
        &mut self,
        (plan, mapping): (&Compiled, &Plan),
        slots: &Slots<'_>,
        tenant: Sym,
        time: Millis,
    ) {
        let wanted = |cleaning: u32| Observed::KINDS.contains(&plan.cleanings[cleaning as usize].kind);
        let entities = mapping.entities.iter().filter(|entity| !entity.spare && wanted(entity.cleaning));
        // One that is both source and destination of a record is in one record.
        let mut own: Vec<(u32, String)> = Vec::new();
        for entity in entities {
            let Some(slot) = entity.slots.iter().find(|slot| slots.first(&[**slot]).is_present()) else {
                continue;
            };
            for value in slots.all(*slot) {
                let mut digits: Digits = [0; 40];
                let Some(text) = value.text(&mut digits) else { continue };
                if !own.iter().any(|(cleaning, known)| *cleaning == entity.cleaning && known == text) {
                    own.push((entity.cleaning, text.to_owned()));
                }
            }
        }
        for (cleaning, text) in own {
            let key = (tenant, cleaning, text, time.div_euclid(DAY_MS));
            let room = self.found.len() < DISTINCT_MAX;
            if let Some(span) = self.found.get_mut(&key) {
                span.records += 1;
                (span.first, span.last) = (span.first.min(time), span.last.max(time));
            } else if room {
                self.found.insert(key, Span { records: 1, first: time, last: time });
            }
        }
    }

    /// What they named, in the order of the texts.
    pub(super) fn take(&mut self, plan: &Compiled, source: Sym, into: &mut Vec<Observed>) {
        let begun = into.len();
        for ((tenant, cleaning, text, _), Span { records, first, last }) in self.found.drain() {
            let cleaning = &plan.cleanings[cleaning as usize];
            if let Some(value) = clean(cleaning, &text) {
                let entity = format!("{}:{value}", cleaning.kind.name());
                into.push(Observed { tenant, source, entity, records, first, last });
            }
        }
        into[begun..].sort_unstable_by(|a, b| {
            (&a.entity, a.first, a.last, a.records).cmp(&(&b.entity, b.first, b.last, b.records))
        });
    }
}
