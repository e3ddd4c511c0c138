//! `quell unlink`: an analyst says what in an incident is not related.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::json;

use super::verdict::{Speaker, incident, means};
use super::{Failure, Output, setup};
use crate::engine::answers::{Parted, unlink};
use crate::record::{AlertId, IncidentId, Unlink, Unrelated};

/// Take an incident apart: say which alert, entity or link does not belong in it.
///
/// The part with most alerts keeps the incident's name; each other part becomes an incident of its own. Playbooks are
/// weighed anew for all of them. What was executed stays where a part would have it done too; where its ground is gone, the
/// policy's `undo` says what becomes of it. A run that is going on takes the word; where it is over, it counts at once.
///
/// Example: quell unlink 0123456789abcdef0123456789abcdef --entity host:web-1 --by ada --archive archive/
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["alert", "entity", "link"])))]
pub(crate) struct Args {
    /// The incident.
    #[arg(value_parser = incident)]
    incident: IncidentId,
    /// This alert is not related to the others.
    #[arg(long, value_parser = alert)]
    alert: Option<AlertId>,
    /// Sharing this entity relates no alerts of it: `host:web-1`, `ip:10.0.0.1`.
    #[arg(long)]
    entity: Option<String>,
    /// These two alerts are not related, though a link joins them.
    #[arg(long, value_parser = alert, num_args = 2, value_names = ["ALERT", "ALERT"])]
    link: Option<Vec<AlertId>>,
    #[command(flatten)]
    speaker: Speaker,
    /// The plan that made the archive; read where its run is over, to compute what follows.
    #[arg(long, default_value = setup::FLOW)]
    flow: PathBuf,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let unlinked = match (&args.alert, &args.entity, args.link.as_deref()) {
        (Some(alert), _, _) => Unrelated::Alert(*alert),
        (_, Some(entity), _) => Unrelated::Entity(entity.clone()),
        (_, _, Some([one, other])) => Unrelated::Link(*one, *other),
        _ => return Err(Failure::Usage("name --alert, --entity or --link".to_owned())),
    };
    let said = Unlink {
        incident_id: args.incident,
        unlink: unlinked,
        by: args.speaker.by.clone(),
        time: setup::now(),
    };
    let done = unlink(&args.speaker.archive, &said, |log, names| {
        means(&args.speaker.archive, &args.flow, log, names)
    })?;
    let (word, what) = match &done {
        Parted::ByRun => ("by_run", "the run that is going on takes it"),
        Parted::Later => ("later", "the run is not over: it takes this when it goes on"),
        Parted::Before => ("before", "said before: nothing changes"),
        Parted::Now(_) => ("now", "the archive tells its parts"),
    };
    let parts = if let Parted::Now(parts) = done { parts } else { Vec::new() };
    match args.output {
        Output::Text => {
            say!("{} taken apart by {}: {what}", args.incident, args.speaker.by);
            for (id, alerts) in &parts {
                say!("  {id}  {alerts} alert{}", if *alerts == 1 { "" } else { "s" });
            }
        }
        Output::Json => {
            let parts: Vec<_> = parts
                .iter()
                .map(|(id, alerts)| json!({ "incident_id": id, "alert_count": alerts }))
                .collect();
            say!("{}", json!({ "incident_id": args.incident, "taken": word, "parts": parts }));
        }
    }
    Ok(())
}

fn alert(text: &str) -> anyhow::Result<AlertId> {
    AlertId::parse(text).ok_or_else(|| anyhow!("an alert's id is 32 hex digits"))
}
