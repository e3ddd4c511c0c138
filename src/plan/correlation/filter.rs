//! Filters: Sigma's filter files. An alert of the rules that one names counts in correlations only where the filter's
//! condition holds, as pySigma and rsigma read it: `condition: not selection` leaves the selected out. The alert itself is
//! kept.
//!
//! A filter's `logsource` is asked of the rule: of those in `rules/` and of those beside correlations it is known. A rule
//! that a product brought has none: a filter concerns it that names it, or that is about any rule of its product.
//!
//! Supported: fields as in `group-by`, texts with `*` and `?` (whatever their case, unless `cased`), numbers, null, and the
//! modifiers `contains`, `startswith`, `endswith`, `all`, `cased`, `exists`, `lt`, `lte`, `gt`, `gte`, `cidr`, and `re` with
//! its `i`, `m` and `s`. Others are a load error. A field that the alert lacks is none of the texts.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ask::{Ask, How};
use super::expression::Expression;
use super::field::{Field, FieldName};
use super::file::{FilterFile, LogSourceFile};
use crate::plan::rule::Source;
use crate::record::Severity;

/// A filter that passed its checks.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of alerts whose rule, by id or title, is one of these; none: of all.
    pub rules: Option<Vec<String>>,
    /// Of rules of this log source; none: of all.
    pub scope: Option<Scope>,
    /// In the order in which the condition numbers them: any of these must hold wholly.
    selections: Vec<Vec<Vec<Item>>>,
    condition: Expression,
}

/// A filter's log source.
#[derive(Clone, Debug)]
pub struct Scope {
    source: Source,
    /// Rules whose log source is known, by id, name and title, and whether it is the filter's.
    pub rules: BTreeMap<String, bool>,
}

impl Scope {
    fn of(file: &LogSourceFile) -> Scope {
        Scope { source: source(file), rules: BTreeMap::new() }
    }

    /// Learns of a rule.
    pub(super) fn know<'n>(&mut self, names: impl IntoIterator<Item = &'n str>, of: &Source) {
        let covers = self.source.covers(of);
        self.rules.extend(names.into_iter().map(|name| (name.to_owned(), covers)));
    }

    /// Whether it is about an alert of this product whose rule is none of those, where the filter is about any rule.
    #[must_use]
    pub fn covers_product(&self, product: &str) -> bool {
        let Source { product: own, service, category } = &self.source;
        let same = own.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(product));
        same && service.is_none() && category.is_none()
    }
}

/// In lower case, as rules' are.
pub(super) fn source(file: &LogSourceFile) -> Source {
    let word = |word: &Option<String>| word.as_ref().map(|word| word.to_lowercase());
    Source { product: word(&file.product), service: word(&file.service), category: word(&file.category) }
}

/// A field and what is asked of it.
#[derive(Clone, Debug)]
struct Item {
    field: FieldName,
    asks: Vec<Ask>,
    all: bool,
}

impl Filter {
    /// Checks a filter; `rules` are those that it names, resolved.
    pub fn of(file: &FilterFile, rules: Option<Vec<String>>) -> Result<Filter, String> {
        let spec = &file.filter;
        let names: Vec<String> = spec.selections.keys().cloned().collect();
        if names.len() > 64 {
            return Err("it has more than 64 selections".to_owned());
        }
        let condition = Expression::parse(&spec.condition, &names)
            .map_err(|what| format!("`condition` {:?} cannot be read: {what}", spec.condition))?;
        let selections = spec.selections.values().map(selection).collect::<Result<_, _>>()?;
        let scope = file.logsource.as_ref().map(Scope::of);
        Ok(Filter { rules, scope, selections, condition })
    }

    /// A correlation's own `where`: one selection, of all its rules' alerts.
    pub fn only(selected: &BTreeMap<String, Value>) -> Result<Filter, String> {
        let items = selected.iter().map(|(key, value)| item(key, value)).collect::<Result<_, _>>()?;
        let condition = Expression::Name(0);
        Ok(Filter { rules: None, scope: None, selections: vec![vec![items]], condition })
    }

    /// Where it asks for the severity alone: one bit for each that passes, by its id.
    #[must_use]
    pub fn severities(&self) -> Option<u8> {
        let severity = |name: &FieldName| name.known[..] == [Field::Severity] && name.path.is_none();
        let passes = |all: u8, one: &Severity| {
            let passes = self.passes(|_| Some(one.name().to_owned()));
            all | u8::from(passes) << one.id().min(7)
        };
        self.fields().all(severity).then(|| Severity::ALL.iter().fold(0, passes))
    }

    /// The fields that it asks for.
    pub fn fields(&self) -> impl Iterator<Item = &FieldName> {
        self.selections.iter().flatten().flatten().map(|item| &item.field)
    }

    /// Whether an alert counts, of which `value` tells what it has in a field.
    pub fn passes(&self, value: impl Fn(&FieldName) -> Option<String>) -> bool {
        let mut holding = 0;
        for (place, alternatives) in self.selections.iter().enumerate() {
            if alternatives.iter().any(|items| items.iter().all(|item| item.holds(&value))) {
                holding |= 1 << place;
            }
        }
        self.condition.holds(holding)
    }
}

impl Item {
    fn holds(&self, value: impl Fn(&FieldName) -> Option<String>) -> bool {
        let value = value(&self.field);
        let one = |ask: &Ask| ask.holds(value.as_deref());
        if self.all { self.asks.iter().all(one) } else { self.asks.iter().any(one) }
    }
}

fn selection(value: &Value) -> Result<Vec<Vec<Item>>, String> {
    let one = |value: &Value| match value {
        Value::Object(items) => items.iter().map(|(key, value)| item(key, value)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("a selection without a field is not supported: an alert has no text of its own".to_owned())
        }
    };
    match value {
        Value::Array(all) => all.iter().map(one).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(vec![one(value)?])
        }
    }
}

fn item(key: &str, value: &Value) -> Result<Item, String> {
    let mut words = key.split('|');
    let field = FieldName::parse(words.next().unwrap_or_default())?;
    let (how, all) = How::read(key, words)?;
    let values: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    };
    let asks = values.into_iter().map(|value| Ask::read(key, &how, value)).collect::<Result<_, _>>()?;
    Ok(Item { field, asks, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(yaml: &str) -> Result<Filter, String> {
        let yaml = format!("title: T\nfilter:\n  {}", yaml.replace('\n', "\n  "));
        let file: FilterFile = serde_saphyr::from_str(&yaml).map_err(|error| error.to_string())?;
        Filter::of(&file, None)
    }

    fn passes(yaml: &str, fields: &[(&str, &str)]) -> bool {
        let value = |name: &FieldName| {
            let path = name.path.as_ref().map(|path| path.text().to_owned())?;
            fields.iter().find(|(field, _)| *field == path).map(|(_, value)| (*value).to_owned())
        };
        filter(yaml).unwrap().passes(value)
    }

    #[test]
    fn selections_mean_what_sigma_says() {
        let admin = "selection: {User|startswith: 'adm_'}\ncondition: not selection";
        assert!(!passes(admin, &[("User", "ADM_kim")]));
        assert!(passes(admin, &[("User", "kim")]) && passes(admin, &[]));
        let one = "a: {Image|endswith: ['\\cmd.exe', '\\sh.exe'], Size|gte: 10}\nb: [{X: null}, {X: 'y?z*'}]\n\
                   condition: a and b";
        assert!(passes(one, &[("Image", r"C:\CMD.exe"), ("Size", "10.0")]));
        assert!(passes(one, &[("Image", r"C:\CMD.exe"), ("Size", "11"), ("X", "yazb")]));
        assert!(!passes(one, &[("Image", r"C:\CMD.exe"), ("Size", "9"), ("X", "yazb")]));
        assert!(!passes(one, &[("Image", r"C:\cmd.com"), ("Size", "11")]));
        assert!(!passes(one, &[("Image", r"C:\cmd.exe"), ("Size", "11"), ("X", "b")]));
        let all = "s: {L|contains|all: [ab, cd]}\ncondition: 1 of s*";
        assert!(passes(all, &[("L", "xcdxabx")]) && !passes(all, &[("L", "ab")]));
        assert!(!passes("s: {L|cased: Ab}\ncondition: s", &[("L", "ab")]));
        assert!(passes("s: {L|exists: false}\ncondition: s", &[]));
        assert!(passes(
            r"s: {L: 'a\*b'}
condition: s",
            &[("L", "a*b")]
        ));
    }

    #[test]
    fn patterns_and_networks_are_asked_for() {
        let re = "s: {L|re: 'a[0-9]+$'}\ncondition: s";
        assert!(passes(re, &[("L", "xa12")]) && !passes(re, &[("L", "XA12")]) && !passes(re, &[]));
        assert!(passes("s: {L|re|i: '^A'}\ncondition: s", &[("L", "ab")]));
        assert!(passes("s: {L|re|m|s: '^b.c$'}\ncondition: s", &[("L", "a\nb\nc")]));
        assert!(!passes("s: {L|re|all: [a, b]}\ncondition: s", &[("L", "xa")]));
        let cidr = "s: {L|cidr: [10.0.0.0/8, '2001:db8::/33', 0.0.0.0/32]}\ncondition: s";
        for (text, within) in [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.1.1", true),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("0.0.0.0", true),
            ("ten", false),
        ] {
            assert_eq!(passes(cidr, &[("L", text)]), within, "{text}");
        }
        assert!(passes("s: {L|cidr: 0.0.0.0/0}\ncondition: s", &[("L", "203.0.113.9")]));
        assert!(!passes("s: {L|cidr: 0.0.0.0/0}\ncondition: s", &[("L", "::1")]));
    }

    #[test]
    fn what_is_not_supported_is_told() {
        for (yaml, what) in [
            ("s: {L|base64: a}\ncondition: s", "`base64`"),
            ("s: {L|re: '(a'}\ncondition: s", "unclosed group"),
            ("s: {L|re: '(?=a)'}\ncondition: s", "look-around"),
            ("s: {L|i: a}\ncondition: s", "`i`"),
            ("s: {L|re|contains: a}\ncondition: s", "`contains`"),
            ("s: {L|re|cased: a}\ncondition: s", "`cased`"),
            ("s: {L|cidr: 10.0.0.0/33}\ncondition: s", "is no network"),
            ("s: {L|cidr: [10.0.0.1/8]}\ncondition: s", "is no network"),
            ("s: [word]\ncondition: s", "without a field"),
            ("s: {L: a}\ncondition: t", "none of"),
            ("s: {L|lt: a}\ncondition: s", "compared with"),
        ] {
            let said = filter(yaml).unwrap_err();
            assert!(said.contains(what), "{yaml}: {said}");
        }
    }
}
