//! Router: from an event's log source to the rules that it is tried against.
//!
//! Rules lie in one engine of rsigma for each `logsource` that rules have. What engines an event is tried by is worked out
//! beforehand for every log source that a mapping can give, so that it pays for no other rule. All threads share all.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rsigma_eval::{EvaluationResult, Event};
use rustc_hash::FxHashMap;

use super::detection::{LogSource, Terms};
use super::rule::{Rule, Rules, Source};

/// Services or categories, in lower case.
type Words = Vec<String>;

/// Which rules a mapping's events are tried against.
pub struct Router {
    rules: Arc<Rules>,
    service: Resolver,
    category: Resolver,
    routes: Vec<Route>,
    by_words: FxHashMap<(Words, Words), u16>,
}

/// One log source.
struct Route {
    /// What events without a match are counted as; empty where nothing is known of them.
    kind: String,
    /// Places in [`Rules::engines`].
    engines: Vec<usize>,
}

/// What a service or category is, ready for looking up.
enum Resolver {
    Always(Words),
    Table(FxHashMap<String, Words>),
    /// The value itself, where a rule names it.
    Value(BTreeSet<String>),
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {} log sources", self.rules, self.routes.len())
    }
}

impl Router {
    /// The routes of `logsource` to `rules`.
    #[must_use]
    pub fn new(logsource: &LogSource, rules: &Arc<Rules>) -> Router {
        let named = |pick: fn(&Source) -> Option<&String>| -> BTreeSet<String> {
            rules.engines().iter().filter_map(|(source, _)| pick(source)).cloned().collect()
        };
        let service = Resolver::new(logsource.service.as_ref(), || named(|source| source.service.as_ref()));
        let category =
            Resolver::new(logsource.category.as_ref(), || named(|source| source.category.as_ref()));
        let (routes, by_words) = (Vec::new(), FxHashMap::default());
        let mut router = Router { rules: Arc::clone(rules), service, category, routes, by_words };
        let product = logsource.product.as_ref().map(|product| product.to_lowercase());
        for services in router.service.all() {
            for categories in router.category.all_of(&services) {
                router.add(product.as_deref(), &services, &categories);
            }
        }
        router
    }

    fn add(&mut self, product: Option<&str>, services: &[String], categories: &[String]) {
        let words = (services.to_vec(), categories.to_vec());
        if self.by_words.contains_key(&words) {
            return;
        }
        let among = |wanted: &Option<String>, there: &[String]| {
            wanted.as_ref().is_none_or(|wanted| there.contains(wanted))
        };
        let is_tried = |source: &Source| {
            source.product.as_ref().is_none_or(|wanted| product == Some(wanted))
                && among(&source.service, services)
                && among(&source.category, categories)
        };
        let engines = self.rules.engines().iter().enumerate();
        let engines = engines.filter(|(_, (source, _))| is_tried(source)).map(|(at, _)| at).collect();
        let mut kind: Vec<String> = services.first().into_iter().chain(categories.first()).cloned().collect();
        kind.dedup();
        let kind = kind.join("/");
        self.by_words.insert(words, u16::try_from(self.routes.len()).expect("fewer than 65,536 log sources"));
        self.routes.push(Route { kind, engines });
    }

    /// The route of events whose service field holds `service` and whose category field holds `category`.
    #[must_use]
    pub fn route(&self, service: Option<&str>, category: Option<&str>) -> u16 {
        let services = self.service.look(&[], service);
        // `SERVICE/VALUE` is a way to write the table, not a value.
        let categories = self.category.look(&services, category.filter(|value| !value.contains('/')));
        // Every pair that can be looked up was added.
        self.by_words.get(&(services, categories)).copied().unwrap_or_default()
    }

    /// What events of a route that no rule matches are counted as; empty where nothing is known of them.
    #[must_use]
    pub fn kind(&self, route: u16) -> &str {
        &self.routes[usize::from(route)].kind
    }

    /// Whether any rule is tried.
    #[must_use]
    pub fn has_rules(&self, route: u16) -> bool {
        !self.routes[usize::from(route)].engines.is_empty()
    }

    /// The rules that match, by their keys.
    pub fn matches<E: Event>(&self, route: u16, event: &E) -> Vec<&Rule> {
        let key = |found: EvaluationResult| {
            self.rules.place(found.header.rule_id.as_ref().unwrap_or(&found.header.rule_title))
        };
        let engines = self.routes[usize::from(route)].engines.iter().map(|at| &self.rules.engines()[*at].1);
        let found = engines.flat_map(|engine| engine.evaluate(event)).filter_map(key);
        let mut matched: Vec<&Rule> = found.map(|at| &self.rules.all()[at]).collect();
        // rsigma promises no order.
        matched.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        matched
    }

    /// Where a rule was read, by its key.
    #[must_use]
    pub fn file_of(&self, key: &str) -> Option<&Path> {
        self.rules.place(key).map(|at| &*self.rules.all()[at].file)
    }

    /// The places in [`Rules::all`] of the rules that some event can reach.
    #[must_use]
    pub fn reached(&self) -> BTreeSet<usize> {
        let engines: BTreeSet<usize> =
            self.routes.iter().flat_map(|route| route.engines.iter().copied()).collect();
        let rules = self.rules.all().iter().enumerate();
        rules.filter(|(_, rule)| engines.contains(&rule.source)).map(|(at, _)| at).collect()
    }
}

impl Resolver {
    fn new(terms: Option<&Terms>, named: impl FnOnce() -> BTreeSet<String>) -> Resolver {
        match terms {
            None => Resolver::Always(Vec::new()),
            Some(Terms::Always(terms)) => Resolver::Always(words(&terms.0)),
            Some(Terms::Field(terms)) if terms.table.is_empty() => Resolver::Value(named()),
            Some(Terms::Field(terms)) => {
                let entry = |(value, terms): (&String, &super::field::OneOrMany<String>)| {
                    (value.to_lowercase(), words(&terms.0))
                };
                Resolver::Table(terms.table.iter().map(entry).collect())
            }
        }
    }

    /// What `value` means for events of `services`.
    fn look(&self, services: &[String], value: Option<&str>) -> Words {
        let value = value.map(|value| value.trim().to_lowercase());
        match (self, value) {
            (Resolver::Always(words), _) => words.clone(),
            (Resolver::Table(_) | Resolver::Value(_), None) => Vec::new(),
            (Resolver::Value(named), Some(value)) => {
                if named.contains(&value) {
                    vec![value]
                } else {
                    Vec::new()
                }
            }
            (Resolver::Table(table), Some(value)) => {
                let of_service = services.iter().find_map(|service| table.get(&format!("{service}/{value}")));
                of_service.or_else(|| table.get(&value)).cloned().unwrap_or_default()
            }
        }
    }

    /// Everything that can be looked up.
    fn all(&self) -> BTreeSet<Words> {
        match self {
            Resolver::Always(words) => BTreeSet::from([words.clone()]),
            Resolver::Value(named) => {
                named.iter().map(|word| vec![word.clone()]).chain([Vec::new()]).collect()
            }
            Resolver::Table(table) => table.values().cloned().chain([Vec::new()]).collect(),
        }
    }

    /// Everything that can be looked up for events of `services`.
    fn all_of(&self, services: &[String]) -> BTreeSet<Words> {
        let Resolver::Table(table) = self else { return self.all() };
        let is_of = |key: &&String| {
            key.split_once('/').is_none_or(|(service, _)| services.iter().any(|known| known == service))
        };
        table.keys().filter(is_of).map(|key| table[key].clone()).chain([Vec::new()]).collect()
    }
}

fn words(texts: &[String]) -> Words {
    texts.iter().map(|text| text.to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use rsigma_eval::JsonEvent;
    use serde_json::json;

    use super::*;

    /// A rule for `x: y` of each of these log sources, named after it, and a filter that lets `by: filter` pass.
    fn rules() -> Arc<Rules> {
        let of = [
            "product: windows, category: process_creation",
            "product: windows, service: sysmon",
            "category: process_creation",
            "product: linux, category: process_creation",
            "product: windows, service: security",
            "product: Windows, category: DNS_Query",
        ];
        let rule = |source| {
            format!(
                "title: '{source}'\nlogsource: {{ {source} }}\ndetection: {{ a: {{ x: y }}, condition: a }}\n"
            )
        };
        let filter = "title: f\nlogsource: { product: windows }\nfilter: { rules: any, b: { by: filter }, condition: not b }\n";
        let folder = tempfile::tempdir().expect("a folder");
        let all = of.map(rule).into_iter().chain([filter.to_owned()]).collect::<Vec<_>>().join("---\n");
        std::fs::write(folder.path().join("all.yml"), all).expect("room");
        let (rules, faults) = Rules::load(&[folder.path().to_owned()]);
        assert_eq!(faults, []);
        Arc::new(rules)
    }

    fn router(rules: &Arc<Rules>) -> Router {
        let source = json!({
            "product": "windows",
            "service": { "field": "Channel", "table": { "Sysmon/Operational": "sysmon", "Security": "security" } },
            "category": { "field": "EventID", "table": { "sysmon/1": "process_creation", "sysmon/22": ["dns_query", "dns"],
                "security/4688": "process_creation" } },
        });
        Router::new(&serde_json::from_value(source).expect("a log source"), rules)
    }

    #[test]
    fn an_event_is_tried_against_the_rules_of_its_log_source() {
        let rules = rules();
        let router = router(&rules);
        let tried = |service: Option<&str>, category: Option<&str>| {
            let (route, event) = (router.route(service, category), json!({ "x": "y", "by": "nobody" }));
            let matched = router.matches(route, &JsonEvent::borrow(&event));
            assert_eq!(router.has_rules(route), !matched.is_empty());
            matched.iter().map(|rule| rule.key.clone()).collect::<Vec<_>>().join(" | ")
        };
        let (own, any) = ("product: windows, category: process_creation", "category: process_creation");
        let (sysmon, security) = ("product: windows, service: sysmon", "product: windows, service: security");
        assert_eq!(tried(Some("Sysmon/Operational"), Some("1")), format!("{any} | {own} | {sysmon}"));
        assert_eq!(
            tried(Some("SYSMON/OPERATIONAL"), Some("22")),
            format!("product: Windows, category: DNS_Query | {sysmon}")
        );
        assert_eq!(tried(Some("Sysmon/Operational"), Some("4688")), sysmon);
        assert_eq!(tried(Some("Security"), Some("4688")), format!("{any} | {own} | {security}"));
        assert_eq!(tried(Some("Security"), Some("sysmon/1")), security, "that is how the table is written");
        assert_eq!([tried(Some("System"), Some("1")), tried(None, None)], ["", ""]);
        assert_eq!(router.kind(router.route(Some("Security"), Some("4688"))), "security/process_creation");
        assert_eq!((router.reached().len(), rules.all().len()), (5, 6));
    }

    #[test]
    fn a_filter_changes_the_rules_that_it_is_about() {
        let rules = rules();
        let router = router(&rules);
        let event = json!({ "x": "y", "by": "filter" });
        let matched =
            router.matches(router.route(Some("Security"), Some("4688")), &JsonEvent::borrow(&event));
        let keys: Vec<&str> = matched.iter().map(|rule| rule.key.as_str()).collect();
        assert_eq!(keys, ["category: process_creation"], "which names no product");
    }
}
