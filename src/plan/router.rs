//! Router: from an event's log source to the rules that it is tried against.
//!
//! For each log source that a mapping can give there is one engine of rsigma with the rules of that source alone, so
//! that an event pays for no other rule. Log sources with the same rules share one. All threads share all.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use rsigma_eval::{Engine, Event};
use rustc_hash::FxHashMap;

use super::detection::{LogSource, Terms};
use super::rule::{Rule, Rules};

/// Services or categories, in lower case.
type Words = Vec<String>;

/// Engines by the rules in them; kept while a plan is read.
pub type Engines = HashMap<Vec<usize>, Arc<Engine>>;

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
    /// None where no rule is of this source.
    engine: Option<Arc<Engine>>,
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
    /// The routes of `logsource` to `rules`; engines are taken from `engines` where they are there already.
    #[must_use]
    pub fn new(logsource: &LogSource, rules: &Arc<Rules>, engines: &mut Engines) -> Router {
        let named = |pick: fn(&Rule) -> Option<&String>| -> BTreeSet<String> {
            rules.all().iter().filter_map(pick).map(|word| word.to_lowercase()).collect()
        };
        let service = Resolver::new(logsource.service.as_ref(), || {
            named(|rule| rule.compiled.logsource.service.as_ref())
        });
        let category = Resolver::new(logsource.category.as_ref(), || {
            named(|rule| rule.compiled.logsource.category.as_ref())
        });
        let (routes, by_words) = (Vec::new(), FxHashMap::default());
        let mut router = Router { rules: Arc::clone(rules), service, category, routes, by_words };
        let product = logsource.product.as_ref().map(|product| product.to_lowercase());
        for services in router.service.all() {
            for categories in router.category.all_of(&services) {
                router.add(product.as_deref(), &services, &categories, engines);
            }
        }
        router
    }

    fn add(
        &mut self,
        product: Option<&str>,
        services: &[String],
        categories: &[String],
        engines: &mut Engines,
    ) {
        let words = (services.to_vec(), categories.to_vec());
        if self.by_words.contains_key(&words) {
            return;
        }
        let of = |wanted: &Option<String>, there: &[String]| {
            wanted.as_ref().is_none_or(|wanted| there.iter().any(|word| word.eq_ignore_ascii_case(wanted)))
        };
        let product: Vec<String> = product.map(str::to_owned).into_iter().collect();
        let is_tried = |rule: &Rule| {
            let source = &rule.compiled.logsource;
            of(&source.product, &product) && of(&source.service, services) && of(&source.category, categories)
        };
        let tried: Vec<usize> = self
            .rules
            .all()
            .iter()
            .enumerate()
            .filter(|(_, rule)| is_tried(rule))
            .map(|(at, _)| at)
            .collect();
        let make = || {
            let mut engine = Engine::new();
            engine.extend_compiled_rules(tried.iter().map(|at| self.rules.all()[*at].compiled.clone()));
            Arc::new(engine)
        };
        let engine =
            (!tried.is_empty()).then(|| Arc::clone(engines.entry(tried.clone()).or_insert_with(make)));
        let mut kind: Vec<String> = services.first().into_iter().chain(categories.first()).cloned().collect();
        kind.dedup();
        let kind = kind.join("/");
        self.by_words.insert(words, u16::try_from(self.routes.len()).expect("fewer than 65,536 log sources"));
        self.routes.push(Route { kind, engine });
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
        self.routes[usize::from(route)].engine.is_some()
    }

    /// The rules that match, by their keys.
    pub fn matches<E: Event>(&self, route: u16, event: &E) -> Vec<&Rule> {
        let Some(engine) = &self.routes[usize::from(route)].engine else { return Vec::new() };
        let found = engine.evaluate(event);
        let key = |found: &rsigma_eval::EvaluationResult| {
            self.rules.place(found.header.rule_id.as_ref().unwrap_or(&found.header.rule_title))
        };
        let mut matched: Vec<&Rule> = found.iter().filter_map(key).map(|at| &self.rules.all()[at]).collect();
        // rsigma promises no order.
        matched.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        matched
    }

    /// The places in [`Rules::all`] of the rules that some event can reach.
    #[must_use]
    pub fn reached(&self) -> BTreeSet<usize> {
        let engines = self.routes.iter().filter_map(|route| route.engine.as_ref());
        let rules = engines.flat_map(|engine| engine.rules());
        rules.filter_map(|rule| self.rules.place(rule.id.as_ref().unwrap_or(&rule.title))).collect()
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
