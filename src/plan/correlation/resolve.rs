//! Resolve: the documents of all correlation files become rules that know one another.
//!
//! A reference means a correlation of the plan by name or id, else by title; else a detection rule beside it by name, id
//! or title; else, where it is `any`, all alerts; else alerts whose rule or title is so called (that cannot be wrong: products
//! name their rules). Correlations
//! that refer to one another in a circle are a fault, whatever the number of steps.

use std::path::PathBuf;

use super::documents::{Document, Kind};
use super::field::FieldName;
use super::file::{BaseRule, CorrelationFile, CorrelationSpec, FilterFile};
use super::rule::{Correlation, Extent, Input, Lookup, Source, Window};
use super::test::Wrong;
use super::{Correlations, Filter, timespan};
use crate::plan::fault::Fault;
use crate::plan::place::{Lines, Place};

/// What stands for the alerts of all rules, as in Sigma's filters.
const ANY: &str = "any";

struct Placed<T> {
    file: PathBuf,
    line: u64,
    lines: Lines,
    of: T,
}

impl<T> Placed<T> {
    /// On the line of the key that it names, else where the document begins.
    fn fault(&self, (what, cure): Wrong) -> Fault {
        let top = Place::top(&self.file, &self.lines);
        let fault = top.within("correlation").named(&what).fault(what, cure);
        Fault { line: fault.line.or(Some(self.line)), ..fault }
    }
}

#[derive(Default)]
struct All {
    correlations: Vec<Placed<CorrelationFile>>,
    bases: Vec<BaseRule>,
    filters: Vec<Placed<FilterFile>>,
}

/// Makes rules of documents; tells every fault, and keeps what has none.
pub fn resolve(documents: Vec<(PathBuf, Document)>, faults: &mut Vec<Fault>) -> Correlations {
    let mut all = All::default();
    for (file, Document { line, lines, kind }) in documents {
        match kind {
            Kind::Correlation(of) => all.correlations.push(Placed { file, line, lines, of: *of }),
            Kind::Filter(of) => all.filters.push(Placed { file, line, lines, of: *of }),
            Kind::Base(of) => all.bases.push(of),
        }
    }
    faults.extend(all.same_names());
    let sources: Vec<Vec<Source>> = (0..all.correlations.len())
        .map(|at| all.sources(at).map_err(|wrong| faults.push(all.correlations[at].fault(wrong))))
        .map(Result::unwrap_or_default)
        .collect();
    let levels = all.levels(&sources, faults);
    let mut rules: Vec<Option<Correlation>> = Vec::new();
    for (at, sources) in sources.iter().enumerate() {
        let checked = levels[at].map(|level| all.check(at, sources, level));
        rules.push(match checked {
            Some(Ok(rule)) if !sources.is_empty() => Some(rule),
            Some(Err(more)) => {
                faults.extend(more);
                None
            }
            Some(Ok(_)) | None => None,
        });
    }
    let filters = all.filters.iter().filter_map(|filter| {
        let names = filter.of.filter.rules.as_ref().map(|rules| rules.0.clone());
        let names = names.filter(|names| !names.iter().any(|name| name == ANY));
        let names = names.map(|names| names.iter().flat_map(|name| all.alerts(name)).collect());
        let cure = "see Sigma's filters; the selection's fields are those of `group-by`".to_owned();
        Filter::of(&filter.of, names).map_err(|what| faults.push(filter.fault((what, cure)))).ok()
    });
    let mut filters: Vec<Filter> = filters.collect();
    for base in &all.bases {
        let read = base.logsource.clone().and_then(|said| serde_json::from_value(said).ok());
        let Some(source) = read.as_ref().map(super::filter::source) else { continue };
        let names = [base.name.as_deref(), base.id.as_deref(), Some(base.title.as_str())];
        for scope in filters.iter_mut().filter_map(|filter| filter.scope.as_mut()) {
            scope.know(names.into_iter().flatten(), &source);
        }
    }
    Correlations { filters, rules: linked(rules, &all) }
}

impl All {
    fn name(&self, at: usize) -> &str {
        let file = &self.correlations[at].of;
        file.name.as_deref().unwrap_or(&file.title)
    }

    fn same_names(&self) -> Vec<Fault> {
        let twice = (0..self.correlations.len())
            .filter(|at| (0..*at).any(|other| self.name(other) == self.name(*at)))
            .map(|at| {
                let what = format!("another correlation is also named {:?}", self.name(at));
                self.correlations[at].fault((what, "give each its own `name`".to_owned()))
            });
        twice.collect()
    }

    /// What a correlation refers to.
    fn sources(&self, at: usize) -> Result<Vec<Source>, Wrong> {
        let names = super::test::names(&self.correlations[at].of.correlation);
        names.iter().map(|name| self.source(name)).collect()
    }

    fn source(&self, name: &str) -> Result<Source, Wrong> {
        let of =
            |file: &CorrelationFile| file.name.as_deref() == Some(name) || file.id.as_deref() == Some(name);
        let by_name = |by: &dyn Fn(&CorrelationFile) -> bool| {
            (0..self.correlations.len()).filter(|at| by(&self.correlations[*at].of)).collect::<Vec<_>>()
        };
        let mut found = by_name(&of);
        if found.is_empty() {
            found = by_name(&|file| file.title == name);
        }
        match found[..] {
            [] if name == ANY && !self.is_base(name) => Ok(Source::Any),
            [] => Ok(Source::Alerts(self.alerts(name))),
            [one] => Ok(Source::Findings(one)),
            [..] => {
                let what = format!("{name:?} may be any of {} correlations", found.len());
                Err((what, "refer to the one that is meant by its `name` or `id`".to_owned()))
            }
        }
    }

    fn is_base(&self, name: &str) -> bool {
        let named = |base: &BaseRule| base.title == name || base.name.as_deref() == Some(name);
        self.bases.iter().any(named)
    }

    /// The rules and titles of alerts that a name means.
    fn alerts(&self, name: &str) -> Vec<String> {
        let mut names = vec![name.to_owned()];
        for base in &self.bases {
            let own = [base.name.as_deref(), base.id.as_deref(), Some(base.title.as_str())];
            if own.contains(&Some(name)) {
                names.extend(own.into_iter().flatten().map(str::to_owned));
            }
        }
        let mut seen = Vec::new();
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        names
    }

    /// How many correlations lie below each; none for those in a circle, or above one.
    fn levels(&self, sources: &[Vec<Source>], faults: &mut Vec<Fault>) -> Vec<Option<usize>> {
        let mut levels: Vec<Option<usize>> = vec![None; sources.len()];
        let below = |at: usize| {
            sources[at].iter().filter_map(|source| match source {
                Source::Findings(other) => Some(*other),
                Source::Alerts(_) | Source::Any => None,
            })
        };
        loop {
            let ready = (0..sources.len()).find_map(|at| {
                let open = levels[at].is_none();
                let mut level = below(at).map(|other| levels[other].map(|level| level + 1));
                let level = level.try_fold(0, |most, level| Some(most.max(level?)));
                level.filter(|_| open).map(|level| (at, level))
            });
            let Some((at, level)) = ready else { break };
            levels[at] = Some(level);
        }
        for at in (0..sources.len()).filter(|at| levels[*at].is_none()) {
            let (mut reached, mut next) = (vec![false; sources.len()], vec![at]);
            while let Some(one) = next.pop() {
                next.extend(below(one).filter(|other| !std::mem::replace(&mut reached[*other], true)));
            }
            if reached[at] {
                let circle = (0..sources.len()).filter(|other| reached[*other] && levels[*other].is_none());
                let names: Vec<&str> = circle.map(|other| self.name(other)).collect();
                let what = format!("it refers to itself by way of {}", names.join(", "));
                let cure = "take one of the references out of `rules`".to_owned();
                faults.push(self.correlations[at].fault((what, cure)));
            }
        }
        levels
    }

    fn check(&self, at: usize, sources: &[Source], level: usize) -> Result<Correlation, Vec<Fault>> {
        let placed = &self.correlations[at];
        let spec = &placed.of.correlation;
        let names = super::test::names(spec);
        let mut wrong = Vec::new();
        let (test, fields) = super::test::test(spec, &names).map_err(|more| wrong.push(more)).ok().unzip();
        let extent = extent(spec).map_err(|more| wrong.push(more)).ok();
        let group_by = spec.group_by.as_ref().map(|fields| fields.0.clone()).unwrap_or_default();
        if let Some(alias) = spec.aliases.values().flat_map(|of| of.keys()).find(|rule| !names.contains(rule))
        {
            let cure = "name rules as `rules` does".to_owned();
            wrong.push((format!("`aliases` names {alias:?}, which is none of `rules`"), cure));
        }
        let mut inputs = Vec::new();
        for (name, of) in names.iter().zip(sources) {
            let look = |field: &String| self.lookup(spec, name, of, field);
            let group = group_by.iter().map(look).collect::<Result<Vec<_>, _>>();
            let value = fields.iter().flatten().map(look).collect::<Result<Vec<_>, _>>();
            match (group, value) {
                (Ok(group), Ok(value)) => inputs.push(Input { of: of.clone(), group, value }),
                (group, value) => wrong.extend(group.err().into_iter().chain(value.err())),
            }
        }
        let only = self.only(spec, sources).map_err(|more| wrong.push(more)).ok().flatten();
        wrong.dedup();
        let (Some(test), Some(extent), true) = (test, extent, wrong.is_empty()) else {
            return Err(wrong.into_iter().map(|wrong| placed.fault(wrong)).collect());
        };
        let rule = Correlation {
            file: placed.file.clone(),
            line: placed.line,
            name: self.name(at).to_owned(),
            title: placed.of.title.clone(),
            inputs,
            only,
            group_by,
            extent,
            test,
            fires: spec.fires,
            told: true,
            level,
            lasts_ms: extent.span_ms,
            examples: placed.of.examples.clone(),
        };
        Ok(Correlation { lasts_ms: rule.own_ms(), ..rule })
    }

    /// Its `where`, which can only be asked of alerts.
    fn only(&self, spec: &CorrelationSpec, sources: &[Source]) -> Result<Option<Filter>, Wrong> {
        let Some(only) = &spec.only else { return Ok(None) };
        let inner = sources.iter().find_map(|source| match source {
            Source::Findings(inner) => Some(self.name(*inner)),
            Source::Alerts(_) | Source::Any => None,
        });
        if let Some(inner) = inner {
            let what = format!("`where` is asked of alerts, and {inner:?} is a correlation");
            return Err((what, "write the `where` in that correlation".to_owned()));
        }
        let cure = "name fields as a selection does, as in where: {severity: [high, critical]}".to_owned();
        Filter::only(only).map(Some).map_err(|what| (format!("`where` cannot be read: {what}"), cure))
    }

    fn lookup(&self, spec: &CorrelationSpec, rule: &str, of: &Source, field: &str) -> Result<Lookup, Wrong> {
        let name = match spec.aliases.get(field) {
            Some(by_rule) => by_rule.get(rule).map(String::as_str).ok_or_else(|| {
                let what = format!("the alias {field:?} does not say what {rule:?} calls it");
                (what, format!("add `{rule}: <field>` to the alias"))
            })?,
            None => field,
        };
        let parsed = FieldName::parse(name).map_err(|what| {
            (what, "name a field as `group-by` does: src_ip, User, process.name".to_owned())
        })?;
        let Source::Findings(inner) = of else { return Ok(Lookup::Alert(parsed)) };
        let inner = &self.correlations[*inner].of;
        let grouped = inner.correlation.group_by.as_ref().map(|fields| &fields.0[..]).unwrap_or_default();
        let same = |other: &&String| {
            *other == name
                || FieldName::parse(other).is_ok_and(|o| !o.known.is_empty() && o.known == parsed.known)
        };
        grouped.iter().position(|other| same(&other)).map(Lookup::Finding).ok_or_else(|| {
            let what =
                format!("{name:?} is asked of the findings of {rule:?}, which are grouped by {grouped:?}");
            (what, "group that correlation by it too, or name its field with `aliases`".to_owned())
        })
    }
}

fn extent(spec: &CorrelationSpec) -> Result<Extent, Wrong> {
    let read = |key: &str, text: &str| {
        let cure = "write 30s, 5m, 1h, 1d or 2w, 30 days at most".to_owned();
        timespan(text).ok_or_else(|| (format!("`{key}` is {text:?}"), cure))
    };
    let span_ms = read("timespan", &spec.timespan)?;
    let gap_ms = match (spec.window, &spec.gap) {
        (Window::Session, Some(gap)) => read("gap", gap)?,
        (Window::Session, None) => {
            let cure = "write `gap: 10m`; `timespan` is then a session's longest duration".to_owned();
            return Err(("a session window has no `gap`".to_owned(), cure));
        }
        (Window::Sliding | Window::Tumbling, Some(_)) => {
            let cure = "take it out, or write `window: session`".to_owned();
            return Err(("`gap` belongs to session windows alone".to_owned(), cure));
        }
        (Window::Sliding | Window::Tumbling, None) => span_ms,
    };
    Ok(Extent { window: spec.window, span_ms, gap_ms })
}

/// Numbers the rules that are left anew, and says which are told and how long their alerts are asked for.
fn linked(rules: Vec<Option<Correlation>>, all: &All) -> Vec<Correlation> {
    let mut rules = rules;
    let refers = |rule: &Correlation| {
        let of = rule.inputs.iter().filter_map(|input| match input.of {
            Source::Findings(inner) => Some(inner),
            Source::Alerts(_) | Source::Any => None,
        });
        of.collect::<Vec<usize>>()
    };
    // What refers to a rule that could not be read is left out as well: the fault was told.
    while let Some(at) = (0..rules.len()).find(|at| {
        rules[*at].as_ref().is_some_and(|rule| refers(rule).iter().any(|inner| rules[*inner].is_none()))
    }) {
        rules[at] = None;
    }
    let mut from_the_top: Vec<usize> = (0..rules.len()).collect();
    from_the_top.sort_by_key(|at| std::cmp::Reverse(rules[*at].as_ref().map(|rule| rule.level)));
    let (mut silent, mut loud) = (vec![false; rules.len()], vec![false; rules.len()]);
    for at in from_the_top {
        let Some(rule) = &rules[at] else { continue };
        let (lasts_ms, generate) = (rule.lasts_ms, all.correlations[at].of.correlation.generate);
        for inner in refers(rule) {
            if generate {
                loud[inner] = true;
            } else {
                silent[inner] = true;
            }
            if let Some(inner) = &mut rules[inner] {
                inner.lasts_ms = inner.lasts_ms.max(inner.own_ms() + lasts_ms);
            }
        }
    }
    let mut numbers = Vec::with_capacity(rules.len());
    let mut next = 0;
    for (at, rule) in rules.iter_mut().enumerate() {
        numbers.push(next);
        if let Some(rule) = rule {
            rule.told = loud[at] || !silent[at];
            next += 1;
        }
    }
    let mut rules: Vec<Correlation> = rules.into_iter().flatten().collect();
    for input in rules.iter_mut().flat_map(|rule| &mut rule.inputs) {
        if let Source::Findings(inner) = &mut input.of {
            *inner = numbers[*inner];
        }
    }
    rules
}
