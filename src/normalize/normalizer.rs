//! Normalizer: chunks in, alerts, rejects and counts of ignored records out. One a thread.
//!
//! State: memos of bounded size; nothing that an answer depends on.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::canonical::capped;
use super::compile::{Compiled, Plan, ProductPlan};
use super::detect::Said;
use super::extract::extract;
use super::guesses::Guesses;
use super::line::Line;
use super::observe::Observing;
use super::refusal::Refusal;
use super::row::Columns;
use super::time::{self, Frame};
use super::unmapped::{of_row, unmapped};
use super::value::{Digits, Slots, Value};
use super::words::Words;
use crate::ingest::{Chunk, Framing, raw};
use crate::plan::mapping::Mapping;
use crate::record::{Alert, AlertId, Millis, Names, Observed, Reject, Sym, tick_of};

/// The longest name by which ignored records are counted, in bytes.
pub(super) const TYPE_MAX: usize = 64;

/// Records that are read before the first of them becomes an alert: what they look up is then fetched at the same time.
const AT_ONCE: usize = 8;

/// What a source says of its records.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The source's name.
    pub name: Sym,
    /// Whose its records are; empty where only a field may say so.
    pub tenant: Sym,
    /// Whether a field may say so.
    pub tenant_from_field: bool,
    /// The zone of times that name none.
    pub zone: TimeZone,
    /// The recorded ingest time.
    pub as_of: Millis,
    /// An event later than `as_of` by more than this is a reject; usually 24 h.
    pub future_max_ms: Millis,
}

/// What came of chunks. `records = alerts that are not further ones + rejects + ignored`.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Detections.
    pub alerts: Vec<Alert>,
    /// What could not become one.
    pub rejects: Vec<Reject>,
    /// Records of no concern, by product and type.
    pub ignored: FxHashMap<(Sym, Sym), u64>,
    /// What those name.
    pub observed: Vec<Observed>,
    /// All records.
    pub records: u64,
}

impl Parsed {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.alerts.clear();
        self.rejects.clear();
        self.ignored.clear();
        self.observed.clear();
        self.records = 0;
    }

    /// How many records were of no concern.
    #[must_use]
    pub fn ignored_count(&self) -> u64 {
        self.ignored.values().sum()
    }
}

/// Turns one source's records into alerts.
pub struct Normalizer {
    plan: Arc<Compiled>,
    settings: SourceSettings,
    frame: Frame,
    source: String,
    tenant: String,
    columns: Option<Columns>,
    /// When its source's log took the record at hand, where that is told.
    logged: Option<Millis>,
    /// The mapping that took the last alert, and how many alerts the last chunk made: what comes next is mostly alike.
    took: usize,
    made: usize,
    guesses: Guesses,
    pub(super) observing: Observing,
    pub(super) words: Words,
}

/// One record and where it stood.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    position: u64,
    ordinal: u64,
    bytes: &'a [u8],
}

impl Normalizer {
    /// A normalizer for records of one source; of `mappings` the first that knows a record takes it.
    #[must_use]
    pub fn new(mappings: &[Mapping], settings: SourceSettings, names: Arc<Names>) -> Normalizer {
        let plan = Arc::new(Compiled::new(mappings, &names));
        let frame = Frame { zone: settings.zone.clone(), as_of: settings.as_of };
        let (source, tenant) = (names.get(settings.name), names.get(settings.tenant));
        let words = Words::new(names);
        Normalizer {
            plan,
            settings,
            frame,
            source,
            tenant,
            columns: None,
            logged: None,
            took: 0,
            made: 0,
            guesses: Guesses::new(),
            observing: Observing::default(),
            words,
        }
    }

    /// Moves the ingest time, as each epoch of a live source does.
    pub fn set_as_of(&mut self, as_of: Millis) {
        self.settings.as_of = as_of;
        self.frame.as_of = as_of;
    }

    /// Parses `chunk` into `out`, which is cleared first.
    pub fn parse(&mut self, chunk: &Chunk, out: &mut Parsed) {
        out.clear();
        out.alerts.reserve(self.made.min(chunk.len()));
        let plan = Arc::clone(&self.plan);
        let slots = || Slots::new(plan.paths.len());
        let mut each: Vec<Slots<'_>> = std::iter::repeat_with(slots).take(chunk.len().min(AT_ONCE)).collect();
        // One check of the whole chunk is cheaper than one a record; where it fails, each is checked by itself.
        let whole = std::str::from_utf8(&chunk.bytes).ok();
        if let Framing::Csv(header) = &chunk.framing
            && !self.columns.as_ref().is_some_and(|columns| columns.are_of(header))
        {
            self.columns = Some(Columns::new(header, &plan.paths));
        }
        let mut records = chunk.spans.iter().zip(chunk.records()).enumerate();
        let mut read = SmallVec::<[_; AT_ONCE]>::new();
        loop {
            for (slots, (at, (span, (position, ordinal, bytes)))) in each.iter_mut().zip(records.by_ref()) {
                slots.clear();
                let known = whole.and_then(|text| text.get(span.start as usize..span.end as usize));
                let text = known
                    .map_or_else(|| std::str::from_utf8(bytes), Ok)
                    .map_err(|error| Refusal::NotUtf8 { at: error.valid_up_to() })
                    .and_then(|text| self.read(&plan, chunk, text, slots).map(|()| text));
                read.push((at, Place { position, ordinal, bytes }, text));
            }
            if read.is_empty() {
                break;
            }
            if let Some(mapping) = plan.mappings.get(self.took) {
                self.words.warm(&each[..read.len()], mapping);
            }
            for ((at, place, text), slots) in read.drain(..).zip(&each) {
                self.logged = chunk.times.get(at).copied().flatten();
                out.records += 1;
                let done = text.and_then(|text| self.settle(&plan, chunk, text, slots, place, out));
                if let Err(refusal) = done {
                    out.rejects.push(self.reject(&refusal, place));
                }
            }
        }
        self.made = out.alerts.len();
        self.observing.take(&plan, self.settings.name, &mut out.observed);
    }

    /// Rejects all records of `chunk`, unread, into `out`, which is cleared first: they ended who read them.
    pub fn keep_out(&self, chunk: &Chunk, out: &mut Parsed) {
        out.clear();
        out.records = chunk.len() as u64;
        let place = |(position, ordinal, bytes)| Place { position, ordinal, bytes };
        out.rejects = chunk.records().map(|at| self.reject(&Refusal::Quarantined, place(at))).collect();
    }

    /// Fills the slots.
    fn read<'a>(
        &mut self,
        plan: &Compiled,
        chunk: &Chunk,
        text: &'a str,
        slots: &mut Slots<'a>,
    ) -> Result<(), Refusal> {
        match (&chunk.framing, &mut self.columns) {
            (Framing::Csv(header), Some(columns)) => {
                let of = header.columns.len();
                columns.read(text, slots).map_err(|fields| Refusal::Fields { fields, columns: of })
            }
            _ if !is_json(text) => Line::read(text)?.fill(&plan.paths, &mut self.guesses, slots),
            _ => extract(&plan.paths, &mut self.guesses, text, slots).map_err(|error| Refusal::json(&error)),
        }
    }

    /// Finds the mapping that takes the record, and makes the alert.
    fn settle(
        &mut self,
        plan: &Compiled,
        chunk: &Chunk,
        text: &str,
        slots: &Slots<'_>,
        place: Place<'_>,
        out: &mut Parsed,
    ) -> Result<(), Refusal> {
        let holds = |checks: &[super::compile::Check]| checks.iter().all(|check| check.holds(slots));
        if let Some(at) = plan.asked.of(slots).find(|at| holds(&plan.mappings[*at].detect)) {
            if let Some(detection) = &plan.mappings[at].detection {
                return self.detect((plan, at, detection), (chunk, text), slots, place, out);
            }
            let said = |words: &mut Words| words.said(slots, &plan.mappings[at], at);
            let mut alert = self.alert((plan, at), slots, place, said, None)?;
            self.took = at;
            if let Some(taken) = &plan.mappings[at].keep {
                alert.unmapped = self.record(chunk, text).ok().and_then(|record| unmapped(record, taken));
            }
            out.alerts.push(alert);
            return Ok(());
        }
        for mapping in &plan.mappings {
            if let Some((_, kind)) = mapping.ignore.iter().find(|(when, _)| holds(when)) {
                let product = self.product(mapping, slots).map_or(Sym::EMPTY, |(product, _)| product);
                let mut digits: Digits = [0; 40];
                let kind = slots
                    .first(kind)
                    .text(&mut digits)
                    .map(|kind| &kind[..kind.floor_char_boundary(TYPE_MAX)]);
                *out.ignored.entry((product, self.words.sym(kind.unwrap_or_default()))).or_default() += 1;
                self.observe(plan, mapping, slots);
                return Ok(());
            }
        }
        Err(match (&chunk.framing, &self.columns) {
            (Framing::Csv(_), Some(columns)) => {
                let named = columns.names().iter().filter(|name| !name.is_empty());
                Refusal::unknown_keys(named)
            }
            _ if !is_json(text) => Refusal::unknown_keys(Line::read(text)?.names().iter()),
            _ => Refusal::unknown(text),
        })
    }

    /// The alert of a record by the mapping at `at`; an event's is one of the Sigma `rule` that matched.
    pub(super) fn alert(
        &mut self,
        (plan, at): (&Compiled, usize),
        slots: &Slots<'_>,
        place: Place<'_>,
        said: impl FnOnce(&mut Words) -> Result<Said, Refusal>,
        rule: Option<&str>,
    ) -> Result<Alert, Refusal> {
        let mapping = &plan.mappings[at];
        let time = self.time(mapping, slots)?;
        let (tenant, tenant_text) = self.tenant(mapping, slots)?;
        let (product, product_text) = self.product(mapping, slots).ok_or(Refusal::NoProduct)?;
        let Said { rule: rule_sym, title, severity, tactics, attacks } = said(&mut self.words)?;
        let vendor = self.words.vendor_id(slots, &mapping.id);
        let tenant_bytes = tenant_text.as_deref().unwrap_or(&self.tenant).as_bytes();
        let ordinal = place.ordinal.to_le_bytes();
        let (of, name) = match vendor {
            Some(vendor) => (product_text.as_bytes(), vendor.as_bytes()),
            None => (self.source.as_bytes(), &ordinal[..]),
        };
        let id = match rule {
            Some(rule) => AlertId::of(&[tenant_bytes, of, name, rule.as_bytes()]),
            None => AlertId::of(&[tenant_bytes, of, name]),
        };
        let identified = vendor.is_some();
        Ok(Alert {
            id,
            time,
            tick: tick_of(time),
            tenant,
            source: self.settings.name,
            position: place.position,
            product,
            rule: rule_sym,
            title,
            severity,
            identified,
            further: false,
            tactics,
            attacks,
            entities: self.words.entities(slots, plan, mapping),
            unmapped: None,
        })
    }

    pub(super) fn time(&self, mapping: &Plan, slots: &Slots<'_>) -> Result<Millis, Refusal> {
        let mut times = mapping.time.iter().map(|slot| slots.first(&[*slot]));
        let read = times.find_map(|value| time::read(value, &mapping.formats, &self.frame));
        let Some(time) = read.or(self.logged) else {
            let mut digits: Digits = [0; 40];
            let found = slots.first(&mapping.time).text(&mut digits);
            let shown =
                |text: &str| format!("{:?} is in none of its formats", &text[..text.floor_char_boundary(64)]);
            return Err(Refusal::NoTime {
                found: found.map_or_else(|| "its field is absent".to_owned(), shown),
            });
        };
        if time > self.settings.as_of.saturating_add(self.settings.future_max_ms) {
            return Err(Refusal::future(time, self.settings.as_of));
        }
        Ok(time)
    }

    /// The tenant, with its text where that is not the settings'.
    pub(super) fn tenant(
        &mut self,
        mapping: &Plan,
        slots: &Slots<'_>,
    ) -> Result<(Sym, Option<String>), Refusal> {
        if self.settings.tenant_from_field {
            let mut digits: Digits = [0; 40];
            if let Some(text) =
                slots.first(&mapping.tenant).text(&mut digits).map(capped).filter(|t| !t.is_empty())
            {
                return Ok((self.words.sym(text), Some(text.to_owned())));
            }
        }
        if self.settings.tenant == Sym::EMPTY {
            Err(Refusal::NoTenant)
        } else {
            Ok((self.settings.tenant, None))
        }
    }

    pub(super) fn product<'p>(
        &mut self,
        mapping: &'p Plan,
        slots: &'p Slots<'_>,
    ) -> Option<(Sym, Cow<'p, str>)> {
        let (found, field) = match &mapping.product {
            ProductPlan::Constant(text, sym) => return Some((*sym, text.as_str().into())),
            ProductPlan::Field(found, field) => (found, field),
        };
        let mut digits: Digits = [0; 40];
        let found = slots.first(found);
        let text = found.text(&mut digits).map(capped).filter(|text| !text.is_empty());
        let product = if field.starts_with.is_empty() {
            // What is a text in the record needs no copy.
            if let Value::Text(text) = found {
                Some(Cow::Borrowed(capped(text))).filter(|text| !text.is_empty())
            } else {
                text.map(|text| Cow::Owned(text.to_owned()))
            }
        } else {
            let fits = |begin: &&String| text.is_some_and(|text| text.starts_with(begin.as_str()));
            let longest = field.starts_with.keys().filter(fits).max_by_key(|begin| begin.len());
            longest.map(|begin| field.starts_with[begin].as_str().into())
        };
        let product = product.or_else(|| field.default.as_deref().map(Into::into))?;
        Some((self.words.sym(&product), product))
    }

    /// The whole record, to keep what is not taken or to try rules. What is nested beyond reason is refused only now.
    pub(super) fn record(&mut self, chunk: &Chunk, text: &str) -> Result<serde_json::Value, Refusal> {
        match (&chunk.framing, &mut self.columns) {
            (Framing::Csv(_), Some(columns)) => Ok(of_row(columns.pairs(text))),
            _ if !is_json(text) => Line::read(text)?.tree(),
            _ => serde_json::from_str(text).map_err(|error| Refusal::json(&error)),
        }
    }

    fn reject(&self, refusal: &Refusal, place: Place<'_>) -> Reject {
        Reject {
            stage: refusal.stage(),
            reason: refusal.to_string(),
            tick: 0,
            tenant: if self.settings.tenant == Sym::EMPTY {
                self.words.names.intern("default")
            } else {
                self.settings.tenant
            },
            source: self.settings.name,
            position: place.position,
            raw: raw(place.bytes),
        }
    }
}

/// What begins otherwise is a line of text.
fn is_json(text: &str) -> bool {
    text.trim_ascii_start().starts_with('{')
}
