//! `quell explain`: why. What an archive says of an incident, a decision, an action or an alert.

mod action;
mod alert;
mod decision;
mod dot;
mod incident;
mod words;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::ValueEnum;

use super::report::plain;
use super::{Failure, Output, out, setup};
use crate::archive::{Line, Lines, Reader};
use crate::plan::playbook;
use crate::record::Names;

/// Explain an incident, a decision, an action or an alert from what the archive holds.
///
/// An incident: its alerts, the evidence that joined them, what was weighed, decided and done, and what came of it.
///
/// Example: quell explain 9c42e97c --archive archive/
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The id, or its first digits: at least four.
    id: String,
    /// The archive.
    #[arg(long, default_value = "archive")]
    archive: PathBuf,
    /// How much of a long list of alerts, links, findings or versions is told, from its beginning and from its end.
    #[arg(long, default_value_t = 5)]
    alerts: usize,
    /// `dot` gives an incident's alerts, entities and links as a graph, for Graphviz.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The plan that names the playbooks; without it they are told by id.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As `--output` says.
    #[default]
    Report,
    /// Graphviz.
    Dot,
}

/// What may be explained, with the table and column that names it.
const KINDS: [(&str, &str, &str); 4] = [
    ("incident", "incidents", "incident_id"),
    ("decision", "decisions", "decision_id"),
    ("action", "actions", "action_id"),
    ("alert", "alerts", "alert_id"),
];

/// What an explanation is made from.
struct Source {
    reader: Reader,
    archive: PathBuf,
    /// Names of playbooks by id.
    playbooks: BTreeMap<String, String>,
    /// How much of a long list is told from each end.
    ends: usize,
}

/// An explanation, for people and for programs.
struct Said {
    lines: Vec<String>,
    json: serde_json::Value,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    setup::archive(&args.archive)?;
    let reader = Reader::open(&args.archive, setup::names())
        .context("there is no archive to explain from; name it with --archive")?;
    let named = playbook::load(&args.flow.with_file_name("playbooks")).unwrap_or_default().into_iter();
    let playbooks = named.map(|playbook| (playbook.id, playbook.name)).collect();
    let source = Source { reader, archive: args.archive.clone(), playbooks, ends: args.alerts };
    let (kind, id) = find(&source.reader, args)?;
    if args.format == Format::Dot {
        if kind != "incident" {
            return Err(Failure::Usage(format!(
                "--format dot draws incidents only, and this is the id of one {kind}: {id}"
            )));
        }
        out::write(dot::graph(&incident::Story::read(&source, &id)?, source.reader.names()).as_bytes());
        return Ok(());
    }
    let said = match kind {
        "incident" => incident::Story::read(&source, &id)?.explain(&source),
        "decision" => decision::explain(&source, &id)?,
        "action" => action::explain(&source, &id)?,
        _ => alert::explain(&source, &id)?,
    };
    match args.output {
        Output::Json => say!("{}", said.json),
        Output::Text => said.lines.iter().for_each(|line| say!("{}", plain(line))),
    }
    Ok(())
}

/// The one thing that the id, or its first digits, names.
fn find(reader: &Reader, args: &Args) -> Result<(&'static str, String), Failure> {
    let digits = args.id.to_ascii_lowercase();
    if !(4..=32).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = format!("{:?} is no id: write 4 to 32 hex digits, as in 9c42e97c", args.id);
        return Err(Failure::Usage(what));
    }
    let mut found = Vec::new();
    for (kind, table, column) in KINDS {
        found.extend(reader.ids(table, column, &digits)?.into_iter().map(|id| (kind, id)));
    }
    match found.as_slice() {
        [] => Err(anyhow!(
            "nothing in {} has an id that begins with {digits}; ids are in the tables incidents, decisions, actions and alerts",
            args.archive.display()
        )
        .into()),
        [(kind, id)] => Ok((kind, id.clone())),
        several => {
            let shown: Vec<String> = several.iter().take(8).map(|(kind, id)| format!("{kind} {id}")).collect();
            let more = if several.len() > 8 { ", ..." } else { "" };
            Err(anyhow!("{} ids begin with {digits}; write more digits: {}{more}", several.len(), shown.join(", ")).into())
        }
    }
}

/// All rows, or the first error.
fn all<L: Line>(lines: io::Result<Lines<L>>) -> io::Result<Vec<L>> {
    lines?.collect()
}

impl Source {
    /// A playbook as people know it.
    fn playbook(&self, id: &str) -> String {
        self.playbooks.get(id).map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"))
    }

    fn names(&self) -> &Names {
        self.reader.names()
    }
}
