//! An alert: where it belongs and has belonged, and what joined it to others.

use std::collections::BTreeMap;

use serde_json::json;

use super::words::{self, section, when};
use super::{Said, Source, all};
use crate::archive::{LinkLine, Only};
use crate::cli::Failure;
use crate::record::{AlertId, Diff, IncidentId};

pub(super) fn explain(source: &Source, id: &str) -> Result<Said, Failure> {
    let (reader, names) = (&source.reader, source.names());
    let id = AlertId::parse(id).ok_or_else(|| anyhow::anyhow!("{id} is no id"))?;
    let only = || Some(Only::alerts([id]));
    let alerts = all(reader.alerts(only()))?;
    let alert = alerts.first().ok_or_else(|| anyhow::anyhow!("alert {id} has no row"))?;
    let duplicates = all(reader.duplicates(only()))?;
    let mut sums: BTreeMap<IncidentId, Diff> = BTreeMap::new();
    for line in all(reader.members(only()))? {
        *sums.entry(line.incident_id).or_default() += line.diff;
    }
    let home: Vec<IncidentId> = sums.iter().filter(|(_, sum)| **sum > 0).map(|(id, _)| *id).collect();
    let before: Vec<IncidentId> = sums.iter().filter(|(_, sum)| **sum <= 0).map(|(id, _)| *id).collect();
    let mut links = all(reader.links(only()))?;
    links.extend(all(reader.links(Some(Only::of("other_alert_id", [id.0]))))?);
    links.retain(|link| link.diff > 0);
    let others = links.iter().map(|link| other(link, id));
    let titles: BTreeMap<AlertId, String> = all(reader.alerts(Some(Only::alerts(others))))?
        .into_iter()
        .map(|line| (line.alert_id, format!("{} {}", when(line.time.0), names.get(line.title))))
        .collect();
    let mut told = vec![format!("Alert {id}"), format!("  {}", words::alert(alert, names))];
    let place = |source, partition, at| match partition {
        0 => format!("{} at {at}", names.get(source)),
        more => format!("{} at {at} of partition {more}", names.get(source)),
    };
    let from = place(alert.source, alert.partition, alert.position);
    told.push(format!("  rule {}, from {from}", names.get(alert.rule)));
    told.extend(alert.repeat_of.map(|first| format!("  repeats {first}")));
    told.extend(
        duplicates
            .iter()
            .map(|copy| format!("  came again from {}", place(copy.source, copy.partition, copy.position))),
    );
    section(&mut told, "Incident", home.iter().map(ToString::to_string).collect());
    section(&mut told, "Before, in", before.iter().map(ToString::to_string).collect());
    let link = |link: &LinkLine| {
        let other_id = other(link, id);
        let direction = if link.alert_id == id { "<-" } else { "->" };
        let title = titles.get(&other_id).cloned().unwrap_or_default();
        format!("{direction} {} {title}: {}", &other_id.to_string()[..8], words::evidence(link, names))
    };
    section(&mut told, "What joined it", words::ends(&links, source.ends, link));
    let json = json!({
        "kind": "alert",
        "alert": words::alert_json(alert, names),
        "incidents": home,
        "earlier_incidents": before,
        "links": links.iter().map(|line| words::link_json(line, names)).collect::<Vec<_>>(),
    });
    Ok(Said { lines: told, json })
}

fn other(link: &LinkLine, id: AlertId) -> AlertId {
    if link.alert_id == id { link.other_alert_id } else { link.alert_id }
}
