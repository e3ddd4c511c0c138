//! Observe: what records of no concern name, counted by day while a chunk is read.
//!
//! State: an entry per distinct text and day of one chunk; [`DISTINCT_MAX`] at most, the first met.

use rustc_hash::FxHashMap;

use super::canonical::clean;
use super::compile::{Compiled, EntityPlan, Plan};
use super::normalizer::Normalizer;
use super::value::{Digits, Slots};
use crate::record::{Millis, Observed, Sym};

/// Distinct texts of one chunk; attackers choose how many there are.
const DISTINCT_MAX: usize = 64 << 10;

const DAY_MS: Millis = 24 * 3600 * 1000;

/// What a chunk's records name.
#[derive(Default)]
pub(super) struct Observing {
    /// By whose it is, how it is cleaned and the day; then by its text as it stands.
    found: FxHashMap<(Sym, u32, i64), FxHashMap<String, Span>>,
    distinct: usize,
    /// Records so far.
    count: u64,
}

struct Span {
    records: u64,
    first: Millis,
    last: Millis,
    /// The record that was counted last.
    at: u64,
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
    fn record(&mut self, (plan, mapping): (&Compiled, &Plan), slots: &Slots<'_>, tenant: Sym, time: Millis) {
        self.count += 1;
        let wanted = |entity: &&EntityPlan| {
            !entity.spare && Observed::KINDS.contains(&plan.cleanings[entity.cleaning as usize].kind)
        };
        for entity in mapping.entities.iter().filter(wanted) {
            let found = self.found.entry((tenant, entity.cleaning, time.div_euclid(DAY_MS))).or_default();
            for value in entity.values(slots) {
                let mut digits: Digits = [0; 40];
                let Some(text) = value.text(&mut digits) else { continue };
                if let Some(span) = found.get_mut(text) {
                    // One that is both source and destination of a record is in one record.
                    span.records += u64::from(span.at != self.count);
                    (span.first, span.last) = (span.first.min(time), span.last.max(time));
                    span.at = self.count;
                } else if self.distinct < DISTINCT_MAX {
                    let span = Span { records: 1, first: time, last: time, at: self.count };
                    found.insert(text.to_owned(), span);
                    self.distinct += 1;
                }
            }
        }
    }

    /// What they named, in the order of the texts.
    pub(super) fn take(&mut self, plan: &Compiled, source: Sym, into: &mut Vec<Observed>) {
        let begun = into.len();
        self.distinct = 0;
        for ((tenant, cleaning, _), found) in self.found.drain() {
            let cleaning = &plan.cleanings[cleaning as usize];
            for (text, Span { records, first, last, .. }) in found {
                if let Some(value) = clean(cleaning, &text) {
                    let entity = format!("{}:{value}", cleaning.kind.name());
                    into.push(Observed { tenant, source, entity, records, first, last });
                }
            }
        }
        into[begun..].sort_unstable_by(|a, b| {
            (&a.entity, a.first, a.last, a.records).cmp(&(&b.entity, b.first, b.last, b.records))
        });
    }
}
