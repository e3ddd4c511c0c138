//! Words: rows of the archive as sentences and as JSON, the same for all explanations.

use serde_json::{Value, json};

use super::Source;
use crate::archive::{
    ActionLine, AlertLine, CandidateLine, DecisionLine, IncidentLine, LinkLine, MatchLine, OutcomeLine,
    VerdictLine,
};
use crate::record::{Entity, Millis, Names, Score, Sym, Triage};

/// A time, to the second.
pub(super) fn when(time: Millis) -> String {
    let time = jiff::Timestamp::from_millisecond(time);
    time.map_or_else(|_| "an impossible time".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

fn stamp(time: Millis) -> Value {
    jiff::Timestamp::from_millisecond(time).map_or(Value::Null, |time| json!(time.to_string()))
}

fn texts(syms: &[Sym], names: &Names) -> Vec<String> {
    syms.iter().map(|sym| names.get(*sym)).collect()
}

fn entities(entities: &[Entity], names: &Names) -> Vec<String> {
    entities.iter().map(|entity| entity.text(names)).collect()
}

/// What the model takes an incident for.
pub(super) fn triage(triage: Option<Triage>) -> &'static str {
    match triage {
        None => "not triaged",
        Some(Triage::TruePositive) => "an attack",
        Some(Triage::BenignPositive) => "real but harmless",
        Some(Triage::FalsePositive) => "a false alarm",
    }
}

/// What the context says of an incident, a line each.
pub(super) fn facts(line: &IncidentLine, names: &Names) -> Vec<String> {
    let listed = |what: &str, items: Vec<String>| {
        (!items.is_empty()).then(|| format!("  {what} {}", items.join(", ")))
    };
    let mut worth: Vec<String> = Vec::new();
    if line.criticality > 0 {
        worth.push(format!("criticality {} of 4", line.criticality));
    }
    if line.privilege > 0 {
        worth.push(format!("privilege {} of 2", line.privilege));
    }
    worth.extend(line.exposed.then(|| "exposed to the internet".to_owned()));
    let mut lines = Vec::from_iter(listed("assets:", worth));
    lines.extend(listed("owned by", texts(&line.owners, names)));
    lines.extend(listed("in zones", texts(&line.zones, names)));
    if line.vulnerability_count > 0 {
        let exploit = if line.is_exploit_available { ", an exploit is known" } else { "" };
        lines.push(format!(
            "  vulnerable: {} ({} in all, CVSS up to {}.{}{exploit})",
            texts(&line.vulnerabilities, names).join(" "),
            line.vulnerability_count,
            line.base_score / 10,
            line.base_score % 10
        ));
    }
    let sure = format!("indicators, {} % sure:", line.indicator);
    lines.extend(listed(&sure, entities(&line.indicators, names)));
    if let (Some(first), Some(last)) = (line.first_sighted_time, line.last_sighted_time) {
        let (seen, times) = (entities(&line.sighted, names).join(", "), line.sightings);
        let (first, last) = (when(first.0), when(last.0));
        lines.push(format!("  seen before, {times} times from {first} to {last}: {seen}"));
    }
    lines.extend(listed("protected:", entities(&line.protected, names)));
    let mut unusual = Vec::new();
    if line.rarity > 0 {
        let decades = f64::from(line.rarity) / 1000.0;
        unusual.push(format!("a user or host that is seldom seen (surprise {decades:.1})"));
    }
    if line.unusual_hour > 0 {
        let decades = f64::from(line.unusual_hour) / 1000.0;
        unusual.push(format!("a user at an hour that is not theirs (surprise {decades:.1})"));
    }
    unusual.extend(line.new_pair.then(|| "a user on a host for the first time".to_owned()));
    lines.extend(listed("unusual:", unusual));
    lines
}

/// What joined two alerts.
pub(super) fn evidence(link: &LinkLine, names: &Names) -> String {
    let entity = link.entity.map(|entity| entity.text(names));
    let decades = f64::from(link.weight) / 1000.0;
    match (names.get(link.evidence).as_str(), entity) {
        ("session", _) => format!("the same rule about the same subject again (surprise {decades:.1})"),
        ("rare", Some(network)) if network.starts_with("ip:") && network.contains('/') => {
            format!("both from {network}, a network which is rare (odds against chance {decades:.1})")
        }
        ("rare", Some(entity)) => {
            format!("both about {entity}, which is rare (odds against chance {decades:.1})")
        }
        ("entity", Some(entity)) => format!("both about {entity} (surprise {decades:.1})"),
        ("encounter", Some(entity)) => {
            format!(
                "both about {entity}, and two of the site met that had not before (surprise {decades:.1})"
            )
        }
        ("rule", _) => format!("the same rule, seldom raised, about another subject (surprise {decades:.1})"),
        ("site", _) => {
            format!("unusual while the site's latest strong incident goes on (surprise {decades:.1})")
        }
        ("correlation", _) => "a correlation rule found them together".to_owned(),
        (other, Some(entity)) => format!("{other}: {entity} (weight {decades:.1})"),
        (other, None) => format!("{other} (weight {decades:.1})"),
    }
}

/// A correlation's finding in a line.
pub(super) fn finding(line: &MatchLine, names: &Names) -> String {
    let ids: Vec<String> = line.alert_ids.iter().map(|id| id.to_string()[..8].to_owned()).collect();
    let (correlation, group) = (names.get(line.correlation), names.get(line.group));
    format!("{}  {correlation} for {group}: {}", when(line.time.0), ends(&ids, 5, String::clone).join(" "))
}

/// One alert in a line.
pub(super) fn alert(alert: &AlertLine, names: &Names) -> String {
    let about: Vec<String> = alert.entities.iter().take(4).map(|entity| entity.text(names)).collect();
    let more = alert.entities.len().saturating_sub(4);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let repeat = if alert.repeat_of.is_some() { ", a repeat" } else { "" };
    format!(
        "{}  {}  {} ({}, {}{repeat}) about {}{more}",
        when(alert.time.0),
        &alert.alert_id.to_string()[..8],
        names.get(alert.title),
        names.get(alert.product),
        alert.severity_id.name(),
        if about.is_empty() { "nothing named".to_owned() } else { about.join(", ") }
    )
}

/// A ruling and its reason in a line.
pub(super) fn decision(line: &DecisionLine, source: &Source) -> String {
    let names = source.names();
    let of = line.playbook_id.map_or_else(String::new, |id| format!(" {}", source.playbook(&names.get(id))));
    let why = line.reason_detail.clone().unwrap_or_else(|| names.get(line.reason));
    let of = line.undoes.map_or(of, |id| format!(" undoing of {id}"));
    let after = line.superseded_by.map_or_else(String::new, |by| format!("; superseded by {by}"));
    format!(
        "{}  {}  {}{of}: {why}; score {:.2}, confidence {:.2}{after}",
        when(line.tick * 1000),
        line.decision_id,
        line.ruling.name(),
        line.score.value(),
        line.confidence.value()
    )
}

/// A candidate in a line.
pub(super) fn candidate(line: &CandidateLine, source: &Source) -> String {
    let eligible = if line.eligible { "" } else { ", not eligible" };
    let playbook = source.playbook(&source.names().get(line.playbook_id));
    format!(
        "{:.4}  {playbook}, chosen with probability {:.2}{eligible}",
        line.score.value(),
        line.propensity.value()
    )
}

/// How one action went on, in a line; its rows in order.
pub(super) fn action(rows: &[ActionLine]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let course: Vec<String> =
        rows.iter().map(|row| format!("{} at {}", row.status.name(), when(row.tick * 1000))).collect();
    let undoes = first.undo_of.map_or_else(String::new, |id| {
        format!("; undoes {id}: {}", first.reason.as_deref().unwrap_or("its time is over"))
    });
    let (verb, target) = (first.verb.name(), &first.target);
    format!("{}  {verb} {target}: {}{undoes}", first.action_id, course.join(", "))
}

/// An outcome in a line.
pub(super) fn outcome(line: &OutcomeLine) -> String {
    let of = line.action_id.map_or_else(|| "the incident".to_owned(), |id| format!("action {id}"));
    let success = match line.success {
        Some(true) => "it did what it should",
        Some(false) => "it did not do what it should",
        None => "nobody can tell whether it helped",
    };
    let verdict = line.verdict.map_or_else(String::new, |verdict| format!(", {}", triage(Some(verdict))));
    format!(
        "{}  {of}: {success}{verdict} (says {}, {})",
        when(line.time.0),
        line.labelled_by,
        line.label_source.name()
    )
}

/// A verdict in a line.
pub(super) fn verdict(line: &VerdictLine) -> String {
    format!("{}  {} says: {}", when(line.time.0), line.by, triage(Some(line.verdict)))
}

pub(super) fn incident_json(line: &IncidentLine, names: &Names) -> Value {
    let rules = line.rules.iter().zip(&line.rule_counts);
    let rules: Vec<Value> = rules.map(|(rule, n)| json!({ "rule": names.get(*rule), "alerts": n })).collect();
    json!({
        "incident_id": line.incident_id, "version": line.version, "tick": line.tick,
        "tenant": names.get(line.tenant), "kind": line.kind, "state": line.state,
        "merged_into": line.merged_into, "succeeds": line.succeeds,
        "first_seen_time": stamp(line.first_seen_time.0), "last_seen_time": stamp(line.last_seen_time.0),
        "alert_count": line.alert_count, "severity_id": line.severity_id.id(),
        "entities": entities(&line.entities, names), "entity_count": line.entity_count,
        "attacks": texts(&line.attacks, names), "products": texts(&line.products, names), "rules": rules,
        "correlations": texts(&line.correlations, names), "evidence": line.evidence,
        "rarity": line.rarity, "unusual_hour": line.unusual_hour, "new_pair": line.new_pair,
        "protected": entities(&line.protected, names), "indicators": entities(&line.indicators, names),
        "criticality": line.criticality, "privilege": line.privilege, "indicator": line.indicator,
        "exposed": line.exposed, "owners": texts(&line.owners, names), "zones": texts(&line.zones, names),
        "vulnerabilities": texts(&line.vulnerabilities, names),
        "vulnerability_count": line.vulnerability_count, "base_score": f64::from(line.base_score) / 10.0,
        "is_exploit_available": line.is_exploit_available,
        "sighted": entities(&line.sighted, names), "sightings": line.sightings,
        "first_sighted_time": line.first_sighted_time.map(|time| stamp(time.0)),
        "last_sighted_time": line.last_sighted_time.map(|time| stamp(time.0)),
        "triage": line.triage, "confidence": line.confidence.map(Score::value),
        "next_tactics": line.next_tactics.as_ref().map(|tactics| texts(tactics, names)),
    })
}

pub(super) fn alert_json(line: &AlertLine, names: &Names) -> Value {
    let entities: Vec<String> = line.entities.iter().map(|entity| entity.text(names)).collect();
    json!({
        "alert_id": line.alert_id, "time": stamp(line.time.0), "tenant": names.get(line.tenant),
        "source": names.get(line.source), "partition": line.partition, "position": line.position, "product": names.get(line.product),
        "rule": names.get(line.rule), "title": names.get(line.title), "severity_id": line.severity_id.id(),
        "entities": entities, "attacks": names.get(line.attacks.0), "repeat_of": line.repeat_of,
    })
}

pub(super) fn link_json(line: &LinkLine, names: &Names) -> Value {
    json!({
        "incident_id": line.incident_id, "alert_id": line.alert_id, "other_alert_id": line.other_alert_id,
        "entity": line.entity.map(|entity| entity.text(names)), "evidence": names.get(line.evidence),
        "weight": line.weight, "in_words": evidence(line, names),
    })
}

pub(super) fn match_json(line: &MatchLine, names: &Names) -> Value {
    json!({
        "correlation": names.get(line.correlation), "group": names.get(line.group), "time": stamp(line.time.0),
        "alert_ids": line.alert_ids,
    })
}

pub(super) fn candidate_json(line: &CandidateLine, names: &Names) -> Value {
    json!({
        "tick": line.tick, "playbook_id": names.get(line.playbook_id), "score": line.score.value(),
        "propensity": line.propensity.value(), "eligible": line.eligible,
    })
}

pub(super) fn decision_json(line: &DecisionLine, names: &Names) -> Value {
    json!({
        "decision_id": line.decision_id, "incident_id": line.incident_id, "tick": line.tick,
        "playbook_id": line.playbook_id.map(|id| names.get(id)), "ruling": line.ruling,
        "reason": names.get(line.reason), "reason_detail": line.reason_detail,
        "score": line.score.value(), "confidence": line.confidence.value(),
        "model_version": names.get(line.model_version), "plan_hash": names.get(line.plan_hash),
        "supersedes": line.supersedes, "superseded_by": line.superseded_by,
        "undoes": line.undoes,
    })
}

pub(super) fn action_json(line: &ActionLine) -> Value {
    json!({
        "action_id": line.action_id, "seq": line.seq, "decision_id": line.decision_id,
        "incident_id": line.incident_id, "tick": line.tick, "verb": line.verb, "target": line.target,
        "class": line.class, "status": line.status, "attempts": line.attempts,
        "requested_time": stamp(line.requested_time.0),
        "finished_time": line.finished_time.map(|time| stamp(time.0)),
        "undo_of": line.undo_of, "reason": line.reason,
    })
}

pub(super) fn outcome_json(line: &OutcomeLine) -> Value {
    json!({
        "action_id": line.action_id, "incident_id": line.incident_id, "success": line.success,
        "verdict": line.verdict, "label_source": line.label_source, "labelled_by": line.labelled_by,
        "time": stamp(line.time.0),
    })
}

pub(super) fn verdict_json(line: &VerdictLine) -> Value {
    json!({ "incident_id": line.incident_id, "verdict": line.verdict, "by": line.by, "time": stamp(line.time.0) })
}

/// The first and the last `ends` of a list, with how many lie between.
pub(super) fn ends<T>(all: &[T], ends: usize, mut tell: impl FnMut(&T) -> String) -> Vec<String> {
    if all.len() <= ends * 2 {
        return all.iter().map(tell).collect();
    }
    let (first, rest) = all.split_at(ends);
    let (between, last) = rest.split_at(rest.len() - ends);
    let mut lines: Vec<String> = first.iter().map(&mut tell).collect();
    lines.push(format!("... {} more", between.len()));
    lines.extend(last.iter().map(tell));
    lines
}

/// Lines under a heading, indented; nothing where there are none.
pub(super) fn section(lines: &mut Vec<String>, heading: &str, under: Vec<String>) {
    if !under.is_empty() {
        lines.push(String::new());
        lines.push(heading.to_owned());
        lines.extend(under.into_iter().map(|line| format!("  {line}")));
    }
}
