//! Detect: a record that is an event is tried against the Sigma rules of its log source. Each rule that matches is an
//! alert; an event that none matches is of no concern, counted by its log source, and what it names is noted.

use super::compile::{Compiled, Plan};
use super::event::Layout;
use super::normalizer::{Normalizer, Parsed, Place, TYPE_MAX};
use super::paths::Paths;
use super::refusal::Refusal;
use super::unmapped::unmapped;
use super::value::{Digits, Slots};
use super::words::Words;
use crate::ingest::Chunk;
use crate::plan::detection::{Detection, Terms};
use crate::plan::router::Router;
use crate::plan::rule::Rule;
use crate::record::{Severity, Sym, Tactics};

/// A mapping's `detection` with every path replaced by its slot.
pub(super) struct DetectionPlan {
    router: Option<std::sync::Arc<Router>>,
    service: Box<[u16]>,
    category: Box<[u16]>,
    layout: Layout,
}

/// What a detection says: the product's own, or a Sigma rule's.
pub(super) struct Said {
    pub(super) rule: Sym,
    pub(super) title: Sym,
    pub(super) severity: Severity,
    pub(super) tactics: Tactics,
    pub(super) attacks: Sym,
}

impl DetectionPlan {
    pub(super) fn new(detection: &Detection, paths: &mut Paths) -> Self {
        let mut slots = |terms: &Option<Terms>| {
            terms.as_ref().and_then(Terms::field).map(|field| paths.slots(field)).unwrap_or_default()
        };
        DetectionPlan {
            service: slots(&detection.logsource.service),
            category: slots(&detection.logsource.category),
            router: detection.router.clone(),
            layout: Layout::new(detection),
        }
    }
}

impl Normalizer {
    /// Tries an event of the mapping at `at` against the rules.
    pub(super) fn detect(
        &mut self,
        (plan, at, detection): (&Compiled, usize, &DetectionPlan),
        (chunk, text): (&Chunk, &str),
        slots: &Slots<'_>,
        place: Place<'_>,
        out: &mut Parsed,
    ) -> Result<(), Refusal> {
        let mapping = &plan.mappings[at];
        let Some(router) = &detection.router else {
            self.ignore((plan, mapping), detection, "", slots, out);
            return Ok(());
        };
        let route = self.route(router, at, detection, slots);
        let mut record = if router.has_rules(route) { Some(self.record(chunk, text)?) } else { None };
        if let Some(record) = &mut record {
            detection.layout.prepare(record);
        }
        let matched = record
            .as_ref()
            .map(|record| router.matches(route, &detection.layout.event(record)))
            .unwrap_or_default();
        if matched.is_empty() {
            self.ignore((plan, mapping), detection, router.kind(route), slots, out);
            return Ok(());
        }
        let kept = mapping.keep.as_ref().zip(record).and_then(|(taken, record)| unmapped(record, taken));
        for (rule, number) in matched.into_iter().zip(0..) {
            let said = |words: &mut Words| Ok(words.of_rule(rule));
            let mut alert = self.alert((plan, at), slots, place, said, Some(&rule.key))?;
            alert.further = number > 0;
            alert.unmapped.clone_from(&kept);
            out.alerts.push(alert);
        }
        Ok(())
    }

    fn route(&mut self, router: &Router, at: usize, detection: &DetectionPlan, slots: &Slots<'_>) -> u16 {
        let (mut service_digits, mut category_digits): (Digits, Digits) = ([0; 40], [0; 40]);
        let service = slots.first(&detection.service).text(&mut service_digits);
        let category = slots.first(&detection.category).text(&mut category_digits);
        let tag = u32::try_from(at).unwrap_or(u32::MAX);
        self.words.route(tag, service, category, || router.route(service, category))
    }

    /// Counts an event that no rule matches.
    fn ignore(
        &mut self,
        (plan, mapping): (&Compiled, &Plan),
        detection: &DetectionPlan,
        kind: &str,
        slots: &Slots<'_>,
        out: &mut Parsed,
    ) {
        let product = self.product(mapping, slots).map_or(Sym::EMPTY, |(product, _)| product);
        let mut digits: Digits = [0; 40];
        // What no rule knows is told by what it calls itself.
        let service = slots.first(&detection.service).text(&mut digits).unwrap_or_default();
        let kind = if kind.is_empty() { &service[..service.floor_char_boundary(TYPE_MAX)] } else { kind };
        *out.ignored.entry((product, self.words.sym(kind))).or_default() += 1;
        self.observe(plan, mapping, slots);
    }
}

impl Words {
    fn of_rule(&mut self, rule: &Rule) -> Said {
        let (tactics, attacks) = self.tags(&rule.tags);
        Said {
            rule: self.sym(&rule.key),
            title: self.sym(&rule.title),
            severity: rule.severity,
            tactics,
            attacks,
        }
    }
}
