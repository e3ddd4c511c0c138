//! An incident as a graph for Graphviz: alerts, the entities that they name, and the links that joined them.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::incident::Story;
use super::words::{evidence, when};
use crate::cli::report::plain;
use crate::record::{AlertId, Names};

/// Alerts drawn at most: a graph of more can't be read.
const ALERTS_MAX: usize = 300;

/// The graph in the DOT language.
pub(super) fn graph(story: &Story, names: &Names) -> String {
    let mut dot = format!("// Incident {}\n", story.last.incident_id);
    dot.push_str("digraph incident {\n  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];\n  edge [fontname=\"sans-serif\", fontsize=8];\n");
    let drawn = &story.alerts[..story.alerts.len().min(ALERTS_MAX)];
    if drawn.len() < story.alerts.len() {
        let _ = writeln!(dot, "  // the first {} of {} alerts", drawn.len(), story.alerts.len());
    }
    let mut entities = BTreeSet::new();
    for alert in drawn {
        let label = format!("{}\\n{}", quoted(&names.get(alert.title)), when(alert.time.0));
        let colour = match alert.severity_id.id() {
            5.. => "salmon",
            4 => "orange",
            3 => "khaki",
            _ => "white",
        };
        let _ = writeln!(
            dot,
            "  \"{}\" [shape=box, style=filled, fillcolor={colour}, label=\"{label}\"];",
            alert.alert_id
        );
        for entity in &alert.entities {
            let (name, role) =
                (quoted(&entity.entity.text(names)), entity.role.prefix().trim_end_matches('_'));
            let _ = writeln!(dot, "  \"{}\" -> \"{name}\" [label=\"{role}\", color=gray];", alert.alert_id);
            entities.insert(name);
        }
    }
    for entity in entities {
        let _ = writeln!(dot, "  \"{entity}\" [shape=ellipse];");
    }
    let known: BTreeSet<AlertId> = drawn.iter().map(|alert| alert.alert_id).collect();
    let both = |link: &&crate::archive::LinkLine| {
        known.contains(&link.alert_id) && known.contains(&link.other_alert_id)
    };
    for link in story.links.iter().filter(both) {
        let why = quoted(&evidence(link, names));
        let _ = writeln!(
            dot,
            "  \"{}\" -> \"{}\" [style=bold, label=\"{why}\"];",
            link.other_alert_id, link.alert_id
        );
    }
    dot.push_str("}\n");
    dot
}

/// An attacker's text inside a quoted string of DOT.
fn quoted(text: &str) -> String {
    plain(text).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attackers_text_stays_inside_its_quotes() {
        assert_eq!(quoted(r#"a" -> "b\"#), r#"a\" -> \"b\\"#);
    }
}
