//! Rules: the Sigma detection rules of `rules/`, read by rsigma-parser and compiled by rsigma-eval. A rule that cannot
//! be used is a fault; none is left out silently.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rsigma_eval::{CompiledRule, Engine, compile_rule};
use rsigma_parser::{FilterRule, Level, LogSource, SigmaCollection, SigmaRule, parse_sigma_yaml};
use rustc_hash::FxHashMap;

use super::fault::Fault;
use super::place::Lines;
use super::text;
use crate::record::Severity;

/// A detection rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id, or its title where it has none.
    pub key: String,
    /// Its title.
    pub title: String,
    /// Its level.
    pub severity: Severity,
    /// Its tags, with commas between them.
    pub tags: String,
    /// Where it was read.
    pub file: PathBuf,
    /// The line on which its document begins, from 1.
    pub line: u64,
    /// The place of its log source in [`Rules::engines`].
    pub(super) source: usize,
}

/// What a rule's `logsource` names, in lower case; what it leaves out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) product: Option<String>,
    pub(super) service: Option<String>,
    pub(super) category: Option<String>,
}

impl Source {
    /// Whether what this one names is so of `other`.
    pub(super) fn covers(&self, other: &Source) -> bool {
        let same = |own: &Option<String>, of: &Option<String>| own.is_none() || own == of;
        same(&self.product, &other.product)
            && same(&self.service, &other.service)
            && same(&self.category, &other.category)
    }
}

/// All rules of a plan. Each is in one engine of rsigma, that of its log source.
#[derive(Default)]
pub struct Rules {
    list: Vec<Rule>,
    engines: Vec<(Source, Engine)>,
    by_key: FxHashMap<String, usize>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.list.len())
    }
}

impl Rules {
    /// Every rule, by file and line.
    #[must_use]
    pub fn all(&self) -> &[Rule] {
        &self.list
    }

    /// The place in [`Rules::all`] of the rule with this id, or with this title and no id.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Every rule with its log source.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&Rule, &Source)> {
        self.list.iter().filter_map(|rule| Some((rule, &self.engines.get(rule.source)?.0)))
    }

    /// Log sources of rules with what tries an event against their rules.
    pub(super) fn engines(&self) -> &[(Source, Engine)] {
        &self.engines
    }

    /// Reads every file of `folders`: the rules that can be used, and what is wrong with the others.
    #[must_use]
    pub fn load(folders: &[PathBuf]) -> (Rules, Vec<Fault>) {
        let mut reading = Reading::default();
        for folder in folders {
            let (files, faults) = files(folder);
            reading.faults.extend(faults);
            for file in &files {
                reading.file(file);
            }
        }
        reading.finish()
    }
}

/// Every YAML file in `folder` and the folders within it, by name; a folder that is not there is a fault, and so is a link to
/// one that it lies in. Either hides no file beside it.
pub fn files(folder: &Path) -> (Vec<PathBuf>, Vec<Fault>) {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    walk(folder, &mut Vec::new(), &mut files, &mut faults);
    files.sort();
    (files, faults)
}

/// `above` are the folders that this one lies in, by what they really are.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>, faults: &mut Vec<Fault>) {
    let listed = folder.canonicalize().and_then(|real| {
        let entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        Ok((real, entries.collect::<std::io::Result<Vec<_>>>()?))
    });
    let (real, mut entries) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            let cure = "make the folder readable, or mend the pipeline's `rules`";
            return faults.push(Fault::of(folder, format!("cannot be listed: {error}"), cure));
        }
    };
    if above.contains(&real) {
        return faults.push(Fault::of(folder, "leads back to a folder that it lies in", "take the link out"));
    }
    above.push(real);
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, above, files, faults);
        } else if path.extension().is_some_and(|ext| ext == "yml" || ext == "yaml") {
            files.push(path);
        }
    }
    above.pop();
}

#[derive(Default)]
struct Reading {
    rules: Rules,
    /// The rules compiled, in the same order.
    compiled: Vec<CompiledRule>,
    filters: Vec<(FilterRule, PathBuf, u64)>,
    faults: Vec<Fault>,
}

impl Reading {
    fn fault(&mut self, file: &Path, line: u64, what: impl Into<String>, cure: &str) {
        let (file, line) = (file.to_owned(), Some(line));
        self.faults.push(Fault { file, line, what: what.into(), cure: cure.to_owned() });
    }

    fn file(&mut self, file: &Path) {
        let text = match text::read(file) {
            Ok(text) => text,
            Err(error) => {
                let cure = "see that the file is readable and UTF-8";
                return self.faults.push(Fault::of(file, format!("cannot be read: {error}"), cure));
            }
        };
        let before = (self.rules.list.len() + self.filters.len(), self.faults.len());
        for (line, document) in documents(&text) {
            self.document(file, line, document);
        }
        if before == (self.rules.list.len() + self.filters.len(), self.faults.len()) {
            self.fault(file, 1, "holds no rule", "write one, or take the file out");
        }
    }

    fn document(&mut self, file: &Path, line: u64, text: &str) {
        const SEE: &str = "see the Sigma specification, version 2.1";
        // A line within the document is one further down in the file.
        let at = |within: u64| line + within.saturating_sub(1);
        if let Some(action) = text.lines().zip(1..).find(|(line, _)| line.starts_with("action:")) {
            let what = "`action` makes rules of other documents, which Sigma 2 no longer knows";
            return self.fault(file, at(action.1), what, "write each rule out");
        }
        let SigmaCollection { rules, correlations, filters, errors } = match parse_sigma_yaml(text) {
            Ok(collection) => collection,
            Err(error) => {
                let what = error.to_string();
                return self.fault(file, at(line_of(&what, text)), what, SEE);
            }
        };
        for error in errors {
            self.fault(file, at(line_of(&error, text)), error, SEE);
        }
        // Thousands of rules are read: their lines are looked for where there is something to say of one.
        let key = |key: &str| at(Lines::of(text).line(&[key.to_owned()]).unwrap_or(1));
        if !correlations.is_empty() {
            let cure = "write it as a file of `correlations/`";
            let what = "a correlation does not stand among detection rules";
            self.fault(file, key("correlation"), what, cure);
        }
        self.filters.extend(filters.into_iter().map(|filter| (filter, file.to_owned(), line)));
        for rule in rules {
            match compile_rule(&rule) {
                Ok(compiled) => self.add((file, line), &|| key("logsource"), rule, compiled),
                Err(error) => {
                    let what = format!("rule {:?}: {error}", rule.title);
                    self.fault(file, at(line_of(&error.to_string(), text)), what, SEE);
                }
            }
        }
    }

    /// A rule that is read; its `logsource` has a line of its own.
    fn add(
        &mut self,
        (file, line): (&Path, u64),
        source: &dyn Fn() -> u64,
        rule: SigmaRule,
        compiled: CompiledRule,
    ) {
        let key = rule.id.unwrap_or_else(|| rule.title.clone());
        if let Some(other) = self.rules.place(&key).map(|at| self.rules.list[at].file.display().to_string()) {
            let what = format!("the rule {key:?} is also in {other}");
            return self.fault(file, line, what, "give each rule its own `id`");
        }
        if let Some(custom) = rule.logsource.custom.keys().min() {
            let what = format!("rule {key:?}: `logsource` has {custom:?}, which is not supported");
            return self.fault(file, source(), what, "use `product`, `category` and `service`");
        }
        let severity = match rule.level {
            None => Severity::Unknown,
            Some(Level::Informational) => Severity::Informational,
            Some(Level::Low) => Severity::Low,
            Some(Level::Medium) => Severity::Medium,
            Some(Level::High) => Severity::High,
            Some(Level::Critical) => Severity::Critical,
        };
        self.rules.by_key.insert(key.clone(), self.rules.list.len());
        let (title, tags) = (rule.title, rule.tags.join(","));
        self.rules.list.push(Rule { key, title, severity, tags, file: file.to_owned(), line, source: 0 });
        self.compiled.push(compiled);
    }

    /// Puts each rule into the engine of its log source. Filters change rules: all of them must be known first.
    fn finish(mut self) -> (Rules, Vec<Fault>) {
        if !self.filters.is_empty() {
            let mut engine = Engine::new();
            engine.extend_compiled_rules(std::mem::take(&mut self.compiled));
            for (filter, file, line) in std::mem::take(&mut self.filters) {
                if let Err(error) = engine.apply_filter(&filter) {
                    let what = format!("filter {:?}: {error}", filter.title);
                    self.fault(&file, line, what, "name rules that there are");
                }
            }
            self.compiled = engine.rules().to_vec();
        }
        let mut by_source: BTreeMap<Source, (Vec<usize>, Vec<CompiledRule>)> = BTreeMap::new();
        for (at, compiled) in self.compiled.into_iter().enumerate() {
            let word = |word: &Option<String>| word.as_ref().map(|word| word.to_lowercase());
            let LogSource { product, service, category, .. } = &compiled.logsource;
            let source = Source { product: word(product), service: word(service), category: word(category) };
            let (places, rules) = by_source.entry(source).or_default();
            places.push(at);
            rules.push(compiled);
        }
        for (source, (places, rules)) in by_source {
            for at in places {
                self.rules.list[at].source = self.rules.engines.len();
            }
            let mut engine = Engine::new();
            engine.extend_compiled_rules(rules);
            self.rules.engines.push((source, engine));
        }
        (self.rules, self.faults)
    }
}

/// The documents of a YAML file, each with its first line's number; those of comments alone are none.
fn documents(text: &str) -> Vec<(u64, &str)> {
    let (mut documents, mut start, mut at, mut first) = (Vec::new(), 0, 0, 1);
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push((first, &text[start..at]));
            (start, first) = (at + line.len(), number + 1);
        }
        at += line.len();
    }
    documents.push((first, &text[start..]));
    let says = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
    documents.retain(|(_, text)| says(text));
    documents
}

/// The line within a document of which an error speaks: the one that it tells, else the one on which the rarest of its words
/// stands, below `detection` or `logsource`, for rsigma tells of what it does not understand and not where; else where `detection`
/// begins, or the document.
fn line_of(error: &str, document: &str) -> u64 {
    let told = error.split(" line ").nth(1).and_then(|rest| rest.split(' ').next());
    if let Some(line) = told.and_then(|number| number.parse().ok()) {
        return line;
    }
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        parts.filter(|word| word.len() > 2).map(str::to_lowercase).collect()
    };
    let body = |line: &&(u64, &str)| line.1.starts_with("detection:") || line.1.starts_with("logsource:");
    let lines: Vec<(u64, &str)> = (1..).zip(document.lines()).collect();
    let from = lines.iter().find(body).map_or(1, |(number, _)| *number);
    let holds: Vec<(u64, Vec<String>)> = lines
        .iter()
        .filter(|(number, _)| *number >= from)
        .map(|(number, line)| (*number, words(line)))
        .collect();
    let found = words(error).into_iter().filter_map(|word| {
        let mut there = holds.iter().filter(|(_, words)| words.contains(&word)).map(|(number, _)| *number);
        there.next().map(|first| (there.count(), first))
    });
    // Of words that are equally rare the last: what is wrong is named at the end.
    let found = found.reduce(|best, other| if other.0 <= best.0 { other } else { best });
    let detection =
        lines.iter().find(|(_, line)| line.starts_with("detection:")).map_or(1, |(number, _)| *number);
    found.map_or(detection, |(_, line)| line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "\
title: A
id: 00000000-0000-4000-8000-00000000000a
logsource: { product: windows, category: process_creation }
detection: { selection: { Image|endswith: '\\a.exe' }, condition: selection }
level: high
tags: [attack.t1003]
";

    /// One that goes on with the lines of a selection.
    const LONG: &str = "\
title: A
id: 00000000-0000-4000-8000-00000000000a
logsource:
  product: windows
  category: process_creation
detection:
  selection:
    CommandLine|contains: x
";

    fn load(files: &[(&str, &str)]) -> (Rules, String) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("it can be made");
            std::fs::write(path, text).expect("it can be written");
        }
        let (rules, faults) = Rules::load(&[folder.path().to_owned()]);
        let at = format!("{}/", folder.path().display());
        let told = faults.iter().map(|fault| fault.to_string().replace(&at, "")).collect::<Vec<_>>();
        (rules, told.join("\n"))
    }

    #[test]
    fn rules_are_read_from_folders_within_folders_and_several_of_a_file() {
        let second = FINE.replace("title: A", "title: B").replace("00a", "00b");
        let untitled =
            FINE.replace("title: A", "title: C").replace("id: 00000000-0000-4000-8000-00000000000a\n", "");
        let (rules, told) =
            load(&[("x/y/a.yml", &format!("# two\n---\n{FINE}---\n{second}")), ("c.yaml", &untitled)]);
        assert_eq!(told, "");
        let found: Vec<_> =
            rules.all().iter().map(|rule| (rule.key.as_str(), rule.line, rule.severity)).collect();
        let (a, b) = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b");
        assert_eq!(found, [("C", 1, Severity::High), (a, 3, Severity::High), (b, 10, Severity::High)]);
    }

    #[test]
    fn what_cannot_be_used_is_a_fault_with_its_line() {
        let spoilt = [
            (FINE.replace("endswith", "ends"), "a.yml:4:", "ends"),
            (FINE.replace("condition: selection", "condition: selektion"), "a.yml:4:", "selektion"),
            (format!("{LONG}    Image|ends: x\n  condition: selection\n"), "a.yml:9:", "ends"),
            (format!("{LONG}    Image|re: '(abc'\n  condition: selection\n"), "a.yml:9:", "(abc"),
            (format!("{LONG}    Image: x\n  condition: selektion\n"), "a.yml:10:", "selektion"),
            (format!("---\n{LONG}    Image: x\n  condition: selection and\n"), "a.yml:11:", "ondition"),
            (FINE.replace("detection: {", "detection: ["), "a.yml:4:", "YAML"),
            (format!("{FINE}---\n{FINE}"), "a.yml:8:", "is also in"),
            (format!("action: global\n{FINE}"), "a.yml:1:", "`action`"),
            (FINE.replace("product: windows", "product: windows, zone: dmz"), "a.yml:3:", "\"zone\""),
            ("# nothing\n".to_owned(), "a.yml:1:", "holds no rule"),
            ("title: x\ncorrelation: { type: event_count, rules: [a], group-by: [b], timespan: 1m, condition: { gte: 2 } }\n".to_owned(), "a.yml:2:", "a correlation"),
        ];
        for (text, place, what) in spoilt {
            let (_, told) = load(&[("a.yml", &text)]);
            assert!(told.starts_with(place) && told.contains(what), "{text}: {told}");
        }
        let (_, faults) = Rules::load(&["/nonexistent/rules".into()]);
        assert!(faults[0].to_string().contains("cannot be listed"), "{}", faults[0]);
    }
}
