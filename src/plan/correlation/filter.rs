//! Filters: Sigma's filter files. An alert of the rules that one names counts in correlations only where the filter's
//! condition holds, as pySigma and rsigma read it: `condition: not selection` leaves the selected out. The alert itself is
//! kept.
//!
//! Supported: fields as in `group-by`, texts with `*` and `?` (whatever their case, unless `cased`), numbers, null, and the
//! modifiers `contains`, `startswith`, `endswith`, `all`, `cased`, `exists`, `lt`, `lte`, `gt` and `gte`. Others are a load
//! error. A field that the alert lacks is none of the texts.

use serde_json::Value;

use super::expression::Expression;
use super::field::FieldName;
use super::file::FilterSpec;
use super::rule::{Bounds, Comparison};
use crate::record::Decimal;

/// A filter that passed its checks.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Of alerts whose rule, by id or title, is one of these; none: of all.
    pub rules: Option<Vec<String>>,
    /// In the order in which the condition numbers them: any of these must hold wholly.
    selections: Vec<Vec<Vec<Item>>>,
    condition: Expression,
}

/// A field and what is asked of it.
#[derive(Clone, Debug)]
struct Item {
    field: FieldName,
    asks: Vec<Ask>,
    all: bool,
}

#[derive(Clone, Debug)]
enum Ask {
    Text { pattern: Vec<Glob>, cased: bool },
    Number(Bounds),
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Glob {
    Char(char),
    One,
    Any,
}

impl Filter {
    /// Checks a filter; `rules` are those that it names, resolved.
    pub fn of(spec: &FilterSpec, rules: Option<Vec<String>>) -> Result<Filter, String> {
        let names: Vec<String> = spec.selections.keys().cloned().collect();
        if names.len() > 64 {
            return Err("it has more than 64 selections".to_owned());
        }
        let condition = Expression::parse(&spec.condition, &names)
            .map_err(|what| format!("`condition` {:?} cannot be read: {what}", spec.condition))?;
        let selections = spec.selections.values().map(selection).collect::<Result<_, _>>()?;
        Ok(Filter { rules, selections, condition })
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
        let one = |ask: &Ask| match (ask, value.as_deref()) {
            (Ask::Exists(there), value) => *there == value.is_some(),
            (Ask::Text { .. } | Ask::Number(_), None) => false,
            (Ask::Text { pattern, cased: true }, Some(text)) => fits(pattern, text),
            (Ask::Text { pattern, cased: false }, Some(text)) => fits(pattern, &text.to_lowercase()),
            (Ask::Number(bounds), Some(text)) => {
                Decimal::parse(text).is_some_and(|number| bounds.hold(number.billionths(), 1))
            }
        };
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
    let (mut all, mut cased, mut how) = (false, false, None);
    for word in words {
        match word {
            "all" => all = true,
            "cased" => cased = true,
            "contains" | "startswith" | "endswith" | "exists" | "lt" | "lte" | "gt" | "gte"
                if how.is_none() =>
            {
                how = Some(word);
            }
            _ => return Err(format!("the modifier `{word}` of {key:?} is not supported here")),
        }
    }
    let values: Vec<&Value> = match value {
        Value::Array(all) => all.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value],
    };
    let asks = values.into_iter().map(|value| ask(key, how, cased, value)).collect::<Result<_, _>>()?;
    Ok(Item { field, asks, all })
}

fn ask(key: &str, how: Option<&str>, cased: bool, value: &Value) -> Result<Ask, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(there) if how == Some("exists") => return Ok(Ask::Exists(*there)),
        Value::Bool(yes) => yes.to_string(),
        Value::Null if how.is_none() => return Ok(Ask::Exists(false)),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(format!("{key:?} is compared with {value}"));
        }
    };
    let comparison = match how {
        Some("lt") => Some(Comparison::Less),
        Some("lte") => Some(Comparison::AtMost),
        Some("gt") => Some(Comparison::Greater),
        Some("gte") => Some(Comparison::AtLeast),
        Some(_) | None => None,
    };
    if let Some(comparison) = comparison {
        let number = Decimal::parse(&text).ok_or_else(|| format!("{key:?} is compared with {text:?}"))?;
        return Ok(Ask::Number(Bounds(vec![(comparison, number)])));
    }
    if how == Some("exists") {
        return Err(format!("{key:?} is neither true nor false but {text:?}"));
    }
    let mut pattern = glob(&if cased { text } else { text.to_lowercase() });
    if matches!(how, Some("contains" | "endswith")) {
        pattern.insert(0, Glob::Any);
    }
    if matches!(how, Some("contains" | "startswith")) {
        pattern.push(Glob::Any);
    }
    Ok(Ask::Text { pattern, cased })
}

/// Sigma's wildcards; a backslash takes the meaning from a star, a question mark or a backslash.
fn glob(text: &str) -> Vec<Glob> {
    let mut pattern = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        pattern.push(match c {
            '\\' => Glob::Char(chars.next_if(|next| "*?\\".contains(*next)).unwrap_or('\\')),
            '*' => Glob::Any,
            '?' => Glob::One,
            _ => Glob::Char(c),
        });
    }
    pattern
}

/// Whether a text fits: where a letter does not, the last star takes in one more.
fn fits(pattern: &[Glob], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut place, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(place) {
            Some(Glob::Any) => {
                star = Some((place, at));
                place += 1;
            }
            Some(Glob::One) => (at, place) = (at + 1, place + 1),
            Some(Glob::Char(c)) if *c == text[at] => (at, place) = (at + 1, place + 1),
            Some(Glob::Char(_)) | None => {
                let Some((before, from)) = star else { return false };
                star = Some((before, from + 1));
                (at, place) = (from + 1, before + 1);
            }
        }
    }
    pattern[place..].iter().all(|glob| *glob == Glob::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(yaml: &str) -> Result<Filter, String> {
        let spec: FilterSpec = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        Filter::of(&spec, None)
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
    fn what_is_not_supported_is_told() {
        for (yaml, what) in [
            ("s: {L|re: a}\ncondition: s", "`re`"),
            ("s: [word]\ncondition: s", "without a field"),
            ("s: {L: a}\ncondition: t", "none of"),
            ("s: {L|lt: a}\ncondition: s", "compared with"),
        ] {
            let said = filter(yaml).unwrap_err();
            assert!(said.contains(what), "{yaml}: {said}");
        }
    }
}
