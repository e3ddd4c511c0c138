//! An incident's story: what it is, what joined it, what was weighed, decided and done, and what came of it.

mod ground;
mod parting;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::ground::Carried;
use self::parting::{Parted, parted, reasons};
use super::words::{self, ends, section, when};
use super::{Said, Source, all};
use crate::archive::{
    ActionLine, AlertLine, CandidateLine, DecisionLine, IncidentLine, LinkLine, MatchLine, Only, OutcomeLine,
    VerdictLine,
};
use crate::cli::Failure;
use crate::cli::report::group;
use crate::record::{AlertId, DecisionId, Diff, Epoch, IncidentId, IncidentState, Names, Sym, Tick};

/// Everything that the archive says of one incident.
pub(super) struct Story {
    /// Its last word.
    pub(super) last: IncidentLine,
    versions: Vec<IncidentLine>,
    /// Incidents that became part of it, whatever they took in before included.
    absorbed: Vec<IncidentId>,
    /// Incidents that go on from it.
    successors: Vec<IncidentId>,
    /// Incidents that a revision parted it from, or from it, and why.
    parted: Parted,
    /// What of its executions these carry.
    carried: Vec<Carried>,
    /// By time.
    pub(super) alerts: Vec<AlertLine>,
    /// Standing ones, by time.
    pub(super) links: Vec<LinkLine>,
    /// Standing findings of correlations that one of its alerts is part of, by time.
    matches: Vec<MatchLine>,
    /// Those that stand, best first.
    candidates: Vec<CandidateLine>,
    decisions: Vec<DecisionLine>,
    /// By action, in order.
    actions: Vec<Vec<ActionLine>>,
    outcomes: Vec<OutcomeLine>,
    verdicts: Vec<VerdictLine>,
}

impl Story {
    pub(super) fn read(source: &Source, id: &str) -> Result<Story, Failure> {
        let reader = &source.reader;
        let id = IncidentId::parse(id).ok_or_else(|| anyhow::anyhow!("{id} is no id"))?;
        let only = || Some(Only::incidents([id]));
        let mut versions = all(reader.incidents(only()))?;
        versions.sort_by_key(|line| line.version);
        let last = versions.last().cloned().ok_or_else(|| anyhow::anyhow!("incident {id} has no version"))?;
        let absorbed = absorbed(source, id)?;
        let follows = all(reader.incidents(Some(Only::of("succeeds", [id.0]))))?;
        let successors: BTreeSet<IncidentId> = follows.iter().map(|line| line.incident_id).collect();
        let before = Only::incidents(last.succeeds);
        let before = if last.succeeds.is_some() { all(reader.incidents(Some(before)))? } else { Vec::new() };
        let from = parted(&before, &versions).filter_map(|(_, epoch)| Some((last.succeeds?, epoch)));
        let parted = reasons(source, parted(&versions, &follows).chain(from).collect())?;
        let carried = Carried::by(&parted, reader, &follows)?;
        let alerts = members(source, id)?;
        // A link keeps the name that its incident had when it was made.
        let named = Only::incidents(absorbed.iter().copied().chain([id]));
        let links = links(all(reader.links(Some(named)))?, &alerts);
        let matches = matches(all(reader.matches(None))?, &alerts, source.names());
        let mut outcomes = all(reader.outcomes(only()))?;
        outcomes.sort_by_key(|line| (line.time.0, line.action_id));
        Ok(Story {
            last,
            versions,
            absorbed,
            successors: successors.into_iter().collect(),
            parted,
            carried,
            alerts,
            links,
            matches,
            candidates: candidates(all(reader.candidates(only()))?, source.names()),
            decisions: decisions(all(reader.decisions(only()))?),
            actions: actions(all(reader.actions(only()))?),
            outcomes: standing(outcomes),
            verdicts: all(reader.verdicts(only()))?,
        })
    }

    pub(super) fn explain(&self, source: &Source) -> Said {
        Said { lines: self.lines(source), json: self.json(source.names()) }
    }

    fn lines(&self, source: &Source) -> Vec<String> {
        let (names, n) = (source.names(), source.ends);
        let mut lines = self.head(names);
        section(&mut lines, "Related incidents", self.related());
        section(&mut lines, "Rules", self.rules(names));
        section(&mut lines, "Alerts", ends(&self.alerts, n, |line| words::alert(line, names)));
        section(&mut lines, "What joined them", ends(&self.links, n, |link| self.link(link, names)));
        let told = |line: &MatchLine| words::finding(line, names);
        section(&mut lines, "Correlations that fired", ends(&self.matches, n, told));
        section(&mut lines, "Versions", ends(&self.versions, n, version));
        let told = self.candidates.iter().map(|line| words::candidate(line, source)).collect();
        section(&mut lines, "Playbooks weighed, with the probability that they succeed", told);
        let told = self.decisions.iter().map(|line| words::decision(line, source)).collect();
        section(&mut lines, "Decisions", told);
        section(&mut lines, "Actions", self.actions.iter().map(|rows| self.action(rows, names)).collect());
        section(&mut lines, "Outcomes", self.outcomes.iter().map(words::outcome).collect());
        section(&mut lines, "Verdicts", self.verdicts.iter().map(words::verdict).collect());
        lines
    }

    fn head(&self, names: &Names) -> Vec<String> {
        let last = &self.last;
        let sure =
            last.confidence.map_or_else(String::new, |c| format!(" ({:.0} % sure)", c.value() * 100.0));
        let taken = match last.triage {
            None => "not triaged".to_owned(),
            triage => format!("taken for {}{sure}", words::triage(triage)),
        };
        let entities: Vec<String> = last.entities.iter().take(8).map(|entity| entity.text(names)).collect();
        let more = (last.entity_count as usize).saturating_sub(entities.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let joined = |syms: &[Sym]| syms.iter().map(|sym| names.get(*sym)).collect::<Vec<_>>().join(" ");
        let mut lines = vec![
            format!(
                "Incident {}: {}, {}, {}, {taken}",
                last.incident_id,
                last.kind.name(),
                last.state.name(),
                last.severity_id.name()
            ),
            format!(
                "  {} alert{} from {} to {}, repeats among them {}; evidence {:.1}",
                group(last.alert_count),
                if last.alert_count == 1 { "" } else { "s" },
                when(last.first_seen_time.0),
                when(last.last_seen_time.0),
                group(self.alerts.iter().filter(|alert| alert.repeat_of.is_some()).count() as u64),
                f64::from(last.evidence) / 1000.0
            ),
            format!("  about {}{more}", entities.join(", ")),
        ];
        if !last.attacks.is_empty() {
            lines.push(format!("  ATT&CK {}", joined(&last.attacks)));
        }
        if let Some(next) = last.next_tactics.as_ref().filter(|_| last.confidence.is_some_and(|c| c.0 > 0)) {
            lines.push(format!("  likely next {}", joined(next)));
        }
        lines.extend(words::facts(last, names));
        lines
    }

    fn related(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(into) = self.last.merged_into {
            lines.push(format!("became part of {into}: its alerts are told there"));
        }
        if self.last.state == IncidentState::Split {
            lines.push("was taken apart by a revision: its alerts are in other incidents now".to_owned());
        }
        if let Some(before) = self.last.succeeds {
            lines.push(match self.parted.get(&before) {
                Some(why) => format!("was part of {before}, until {why}"),
                None => format!("goes on from {before}, which had lasted as long as an incident may"),
            });
        }
        lines.extend(self.successors.iter().map(|after| {
            self.parted.get(after).map_or_else(
                || format!("is gone on with in {after}"),
                |why| format!("was parted from {after}: {why}"),
            )
        }));
        lines.extend(self.absorbed.iter().map(|gone| format!("took in {gone}")));
        lines
    }

    fn rules(&self, names: &Names) -> Vec<String> {
        let mut rules: Vec<(u32, String)> = self
            .last
            .rules
            .iter()
            .zip(&self.last.rule_counts)
            .map(|(rule, n)| (*n, names.get(*rule)))
            .collect();
        rules.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        rules.into_iter().map(|(n, rule)| format!("{n:>6}  {rule}")).collect()
    }

    fn link(&self, link: &LinkLine, names: &Names) -> String {
        let told = |id: AlertId| match self.alerts.iter().find(|alert| alert.alert_id == id) {
            Some(alert) => format!("{} {}", &id.to_string()[..8], names.get(alert.title)),
            None => id.to_string()[..8].to_owned(),
        };
        format!("{} <- {}: {}", told(link.alert_id), told(link.other_alert_id), words::evidence(link, names))
    }

    fn json(&self, names: &Names) -> Value {
        let list = |values: Vec<Value>| Value::Array(values);
        json!({
            "kind": "incident",
            "incident": words::incident_json(&self.last, names),
            "versions": list(self.versions.iter().map(|line| words::incident_json(line, names)).collect()),
            "absorbed": self.absorbed,
            "successors": self.successors,
            "alerts": list(self.alerts.iter().map(|line| words::alert_json(line, names)).collect()),
            "links": list(self.links.iter().map(|line| words::link_json(line, names)).collect()),
            "matches": list(self.matches.iter().map(|line| words::match_json(line, names)).collect()),
            "candidates": list(self.candidates.iter().map(|line| words::candidate_json(line, names)).collect()),
            "decisions": list(self.decisions.iter().map(|line| words::decision_json(line, names)).collect()),
            "actions": list(self.actions.iter().flatten().map(words::action_json).collect()),
            "withdrawn": self.actions.iter().filter(|rows| self.is_withdrawn(rows, names))
                .filter_map(|rows| rows.first()).map(|row| row.action_id).collect::<Vec<_>>(),
            "parted": self.parted.keys().collect::<Vec<_>>(),
            "parted_by": self.parted,
            "outcomes": list(self.outcomes.iter().map(words::outcome_json).collect()),
            "verdicts": list(self.verdicts.iter().map(words::verdict_json).collect()),
        })
    }
}

fn version(line: &IncidentLine) -> String {
    let sure = line.confidence.map_or_else(String::new, |c| format!(" ({:.0} %)", c.value() * 100.0));
    format!(
        "{:>4}  {}  alerts {}, {}, {}, {}{sure}",
        line.version,
        when(line.tick * 1000),
        line.alert_count,
        line.state.name(),
        line.severity_id.name(),
        words::triage(line.triage)
    )
}

/// The incidents that became part of `id`, with what had become part of these.
fn absorbed(source: &Source, id: IncidentId) -> Result<Vec<IncidentId>, Failure> {
    let mut found = BTreeSet::new();
    let mut next = vec![id];
    while !next.is_empty() {
        let into = Only::of("merged_into", next.iter().map(|id| id.0));
        let lines = all(source.reader.incidents(Some(into)))?;
        next = lines.iter().map(|line| line.incident_id).filter(|gone| found.insert(*gone)).collect();
    }
    Ok(found.into_iter().collect())
}

/// The alerts that belong to the incident now, by time.
fn members(source: &Source, id: IncidentId) -> Result<Vec<AlertLine>, Failure> {
    let mut sums: BTreeMap<AlertId, Diff> = BTreeMap::new();
    for line in all(source.reader.members(Some(Only::incidents([id]))))? {
        *sums.entry(line.alert_id).or_default() += line.diff;
    }
    let members = sums.into_iter().filter(|(_, sum)| *sum > 0).map(|(id, _)| id);
    let mut alerts = all(source.reader.alerts(Some(Only::alerts(members))))?;
    alerts.sort_by_key(|alert| (alert.time.0, alert.alert_id));
    Ok(alerts)
}

/// Links that stand between the incident's alerts, in the order of the later one.
fn links(lines: Vec<LinkLine>, alerts: &[AlertLine]) -> Vec<LinkLine> {
    let place: BTreeMap<AlertId, usize> =
        alerts.iter().enumerate().map(|(at, alert)| (alert.alert_id, at)).collect();
    let mut sums: BTreeMap<(usize, AlertId, u32), (Diff, LinkLine)> = BTreeMap::new();
    for line in lines {
        let Some(at) = place.get(&line.alert_id) else { continue };
        let key = (*at, line.other_alert_id, line.evidence.raw());
        sums.entry(key).or_insert_with(|| (0, line.clone())).0 += line.diff;
    }
    sums.into_values().filter(|(sum, _)| *sum > 0).map(|(_, line)| line).collect()
}

/// Findings that stand and that one of the alerts is part of, by time.
fn matches(lines: Vec<MatchLine>, alerts: &[AlertLine], names: &Names) -> Vec<MatchLine> {
    let own: BTreeSet<AlertId> = alerts.iter().map(|alert| alert.alert_id).collect();
    let mut sums = BTreeMap::new();
    for line in lines.into_iter().filter(|line| line.alert_ids.iter().any(|id| own.contains(id))) {
        let key = (line.time.0, names.get(line.correlation), names.get(line.group), line.alert_ids.clone());
        let slot: &mut (Diff, MatchLine) = sums.entry(key).or_insert_with(|| (0, line.clone()));
        slot.0 += line.diff;
    }
    sums.into_values().filter(|(sum, _)| *sum > 0).map(|(_, line)| line).collect()
}

/// Candidates that were not withdrawn, best first.
fn candidates(lines: Vec<CandidateLine>, names: &Names) -> Vec<CandidateLine> {
    let mut sums = BTreeMap::new();
    for line in lines {
        let playbook = names.get(line.playbook_id);
        let key = (playbook, line.tick, line.score, line.propensity, line.eligible);
        let slot: &mut (Diff, CandidateLine) = sums.entry(key).or_insert_with(|| (0, line.clone()));
        slot.0 += line.diff;
    }
    let mut standing: Vec<CandidateLine> =
        sums.into_values().filter(|(sum, _)| *sum > 0).map(|(_, line)| line).collect();
    standing.sort_by_key(|line| std::cmp::Reverse((line.score, line.propensity)));
    standing
}

/// Candidates as they were last weighed at a tick and epoch or before, best first.
pub(super) fn candidates_at(
    (tick, epoch): (Tick, Epoch),
    lines: Vec<CandidateLine>,
    names: &Names,
) -> Vec<CandidateLine> {
    let mut last: BTreeMap<String, CandidateLine> = BTreeMap::new();
    for line in lines.into_iter().filter(|line| line.diff > 0 && line.tick <= tick && line.epoch <= epoch) {
        let slot = last.entry(names.get(line.playbook_id)).or_insert_with(|| line.clone());
        if (line.tick, line.epoch) >= (slot.tick, slot.epoch) {
            *slot = line;
        }
    }
    let mut last: Vec<CandidateLine> = last.into_values().collect();
    last.sort_by_key(|line| std::cmp::Reverse((line.score, line.propensity)));
    last
}

/// Each decision's last word, in order.
pub(super) fn decisions(lines: Vec<DecisionLine>) -> Vec<DecisionLine> {
    let mut last: BTreeMap<(i64, DecisionId), DecisionLine> = BTreeMap::new();
    for line in lines {
        let slot = last.entry((line.tick, line.decision_id)).or_insert_with(|| line.clone());
        if line.superseded_by.is_some() {
            *slot = line;
        }
    }
    last.into_values().collect()
}

/// Rows by action, each action's in order, the earliest action first.
pub(super) fn actions(mut lines: Vec<ActionLine>) -> Vec<Vec<ActionLine>> {
    lines.sort_by_key(|line| (line.action_id, line.seq));
    let mut actions: Vec<Vec<ActionLine>> =
        lines.chunk_by(|a, b| a.action_id == b.action_id).map(<[ActionLine]>::to_vec).collect();
    actions.sort_by_key(|rows| rows.first().map(|row| (row.requested_time.0, row.action_id)));
    actions
}

/// Outcomes that were not taken back.
pub(super) fn standing(lines: Vec<OutcomeLine>) -> Vec<OutcomeLine> {
    let mut standing: Vec<OutcomeLine> = Vec::new();
    for line in lines {
        let same = |other: &OutcomeLine| {
            let other = OutcomeLine { diff: line.diff, epoch: line.epoch, tick: line.tick, ..other.clone() };
            other == line
        };
        match standing.iter().position(same).filter(|_| line.diff < 0) {
            Some(at) => drop(standing.remove(at)),
            None => standing.push(line),
        }
    }
    standing.retain(|line| line.diff > 0);
    standing
}
