//! Documents: a correlation file's YAML documents, each by what it is.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::file::{BaseRule, CorrelationFile, FilterFile};
use crate::plan::fault::Fault;
use crate::plan::place::Lines;
use crate::plan::yaml;

/// A document and where it begins.
#[derive(Clone, Debug)]
pub struct Document {
    /// The line, from 1.
    pub line: u64,
    /// Where its keys stand in the file.
    pub lines: Lines,
    /// What it is.
    pub kind: Kind,
}

/// What a document of `correlations/` may be.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A correlation.
    Correlation(Box<CorrelationFile>),
    /// A detection rule that correlations refer to.
    Base(BaseRule),
    /// A filter.
    Filter(Box<FilterFile>),
}

/// What tells them apart.
#[derive(Deserialize)]
struct Peek {
    #[serde(default)]
    correlation: Option<Value>,
    #[serde(default)]
    detection: Option<Value>,
    #[serde(default)]
    filter: Option<Value>,
}

/// Reads all documents of a file; what is wrong comes with its line in the file.
pub fn read(file: &Path, text: &str) -> Result<Vec<Document>, Vec<Fault>> {
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for (line, text) in parts(text) {
        match one(file, &text) {
            Ok(kind) => documents.push(Document { line, lines: Lines::of(&text), kind }),
            Err(more) => faults.extend(more),
        }
    }
    if documents.is_empty() && faults.is_empty() {
        faults.push(Fault::of(file, "it holds no document", "write a correlation, or take the file out"));
    }
    if faults.is_empty() { Ok(documents) } else { Err(faults) }
}

/// The documents' texts, each below as many empty lines as come before it in the file, so that its faults have their place.
/// A line that begins with `---` parts two documents: within one, YAML has no such line.
fn parts(text: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = vec![(1, String::new())];
    for (n, line) in text.lines().enumerate() {
        if line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) {
            parts.push((n as u64 + 2, "\n".repeat(n + 1)));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    parts.retain(|(_, part)| part.lines().any(says));
    parts
}

fn one(file: &Path, text: &str) -> Result<Kind, Vec<Fault>> {
    let cure = "see schemas/correlation.json for what a correlation file holds";
    let peek: Peek = yaml::parse(file, text, cure)?;
    match peek {
        Peek { correlation: Some(Value::String(_)), .. } => Err(vec![Fault::of(
            file,
            "its `correlation` is text: a rule in SEKOIA's own form, which is not Sigma's",
            "write each document in that text as a Sigma document: `correlation: {type: ..., rules: [...]}` with a title",
        )]),
        Peek { correlation: Some(_), .. } => {
            yaml::parse(file, text, cure).map(|c| Kind::Correlation(Box::new(c)))
        }
        Peek { filter: Some(_), .. } => {
            yaml::parse(file, text, "write title, logsource and filter as Sigma's filters have them")
                .map(|filter| Kind::Filter(Box::new(filter)))
        }
        Peek { detection: Some(_), .. } => {
            yaml::parse(file, text, "give the rule a `title`, and a `name` or `id` to refer to")
                .map(Kind::Base)
        }
        Peek { correlation: None, detection: None, filter: None } => Err(vec![Fault::of(
            file,
            "a document has neither `correlation` nor `detection` nor `filter`",
            "write the one that it is to be; Sigma's old `action: correlation` is not read",
        )]),
    }
}
