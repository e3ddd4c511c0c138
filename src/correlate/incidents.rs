//! `incidents`: alerts and findings to incidents, their members, links and versions.
//!
//! In: alerts that are acted on and the findings of correlation rules, by tenant; revisions, as of the epoch before theirs.
//! Out: versions of incidents (at ticks where something material changed, at the end of an incident, and its last word at
//! the end of the input), memberships and links. Nothing here is taken back, but a merge moves members, and a revision takes
//! back what an analyst says does not belong, or what a finding joined that is withdrawn: these are told, so that somebody has
//! it revised.
//! Where the policy acts early, what an epoch brings is looked at when the epoch ends: alerts in their order, then findings.
//! What lies behind what a tenant's incidents were made of by then counts as of that tick, as late alerts do; its event time
//! still governs its links. A tick may then have several versions of an incident, one an epoch.
//! State: per tenant what [`super::link`] and [`super::baseline`] keep; a summary per open incident; findings until they are settled; the home
//! of alerts that a correlation may still ask for, until its timespan has passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::vec::Map;

use super::acted;
use super::baseline::Baselines;
use super::group::Compiled;
use super::index::Index;
use super::link::{Links, Number, Verdict};
use super::revision::{Listed, Revised, Revision};
use super::summary::{Publishing, Summary};
use crate::flow::kept::Items;
use crate::flow::{Keeper, Keeping, Stream, Turn, route, turns};
use crate::plan::link::LinkSettings;
use crate::plan::policy::Act;
use crate::record::finding::CORRELATION;
use crate::record::{
    Alert, AlertId, Diff, Finding, Incident, IncidentId, IncidentState, Link, Member, NOTHING_SETTLED, Names,
    Severity, Sym, Tick,
};

mod revise;
mod tenants;

use tenants::Tenants;

/// What is told beside the incidents' versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Told {
    /// Changes of membership.
    Members(Vec<Member>),
    /// Reasons.
    Links(Vec<Link>),
    /// Findings that were acted on and are withdrawn.
    Withdrawn(Vec<Finding>),
}

impl Told {
    fn is_empty(&self) -> bool {
        match self {
            Told::Members(members) => members.is_empty(),
            Told::Links(links) => links.is_empty(),
            Told::Withdrawn(findings) => findings.is_empty(),
        }
    }
}

/// What the operator is built from.
#[derive(Clone)]
pub struct Settings {
    /// Thresholds.
    pub link: LinkSettings,
    /// From this severity on a background session is told at once, and ranked.
    pub solo: Severity,
    /// When incidents are made of what came.
    pub act: Act,
    /// The correlation rules.
    pub correlations: Arc<[Compiled]>,
    /// Strings.
    pub names: Arc<Names>,
}

/// What comes in beside alerts.
#[derive(Clone, Serialize, Deserialize)]
enum Beside {
    Finding(Finding, Diff),
    Revision(Arc<Revision>),
    /// To the worker of that number.
    Listed(u64, Vec<Listed>),
}

/// Builds the operator.
pub fn incidents<'scope>(
    alerts: Stream<'scope, (Arc<Alert>, Diff)>,
    findings: Stream<'scope, (Finding, Diff)>,
    revisions: Stream<'scope, Revised>,
    clock: Stream<'scope, Turn>,
    settings: Settings,
    keeper: &Keeper,
) -> (Stream<'scope, Arc<Incident>>, Stream<'scope, Told>) {
    let by_tenant = Exchange::new(|(alert, _): &(Arc<Alert>, Diff)| route(alert.tenant));
    let by_tenant_too = Exchange::new(|beside: &Beside| match beside {
        Beside::Finding(finding, _) => route(finding.tenant),
        Beside::Revision(revision) => route(revision.known.tenant),
        Beside::Listed(worker, _) => *worker,
    });
    let findings = findings.map(|(finding, diff)| Beside::Finding(finding, diff));
    let own = clock.scope().worker().index() as u64;
    let beside = findings.concat(revisions.map(move |revised| match revised {
        Revised::Cut(revision) => Beside::Revision(revision),
        Revised::Listed(changes) => Beside::Listed(own, changes),
    }));
    let mut tenants = Tenants::default();
    let mut waiting = Waiting::new();
    let mut publishing = Publishing::new(settings.link.strong, Arc::clone(&settings.names));
    let index = Index::of(&settings.correlations, None);
    let mut acted = NOTHING_SETTLED;
    let keeping = keeper.of("incidents");
    restore(&keeping, own, (&mut tenants, &mut waiting, &mut acted), &settings);
    turns("incidents", (alerts, by_tenant), (beside, by_tenant_too), clock, move |work| {
        let with = &mut publishing;
        let (versions, members, links) = (work.out, Vec::new(), Vec::new());
        let mut now = Now { settings: &settings, index: &index, with, versions, members, links };
        tenants.take(work.second.drain(..), &mut waiting, acted, &mut now);
        acted = work.turn.acts;
        let later = waiting.split_off(&(acted, Finding::default()));
        let due = std::mem::replace(&mut waiting, later);
        let withdrawn = withdrawn(&due);
        let stand = due.into_iter().filter(|(_, diff)| *diff > 0);
        let mut found = stand.map(|((_, finding), _)| finding).collect::<Vec<_>>();
        found.sort_unstable_by(|a, b| place(a).cmp(&place(b)).then_with(|| now.by_text(a, b)));
        let mut found = found.into_iter().peekable();
        let alerts = acted::new(work.first);
        for (at, alert) in alerts.iter().enumerate() {
            tenants.warm(&alerts, at);
            let here = |finding: &Finding| place(finding) < Some((alert.tick, alert.time, alert.id));
            while let Some(finding) = found.next_if(|finding| settings.act == Act::Settled && here(finding)) {
                tenants.of(finding.tenant, &settings).finding(&finding, &mut now);
            }
            tenants.of(alert.tenant, &settings).alert(alert, &mut now);
        }
        for finding in found {
            tenants.of(finding.tenant, &settings).finding(&finding, &mut now);
        }
        let mut by_name: Vec<&mut Tenant> = tenants.by_name.values_mut().collect();
        by_name.sort_unstable_by_key(|tenant| tenant.name);
        for tenant in by_name {
            tenant.turn(work.turn, &mut now);
        }
        let (members, links) = (now.members, now.links);
        keeping.keep(work.turn, |items| keep(items, keeping.is_first(), (&mut tenants, &waiting, acted)));
        let told = [Told::Members(members), Told::Links(links), Told::Withdrawn(withdrawn)];
        work.side.extend(told.into_iter().filter(|told| !told.is_empty()));
    })
}

/// What is kept.
#[derive(Serialize)]
enum Kept<'a> {
    /// What every worker knows: how far was acted, and what never links.
    All(Tick, &'a tenants::Lists),
    /// One without its open incidents and what findings may name: these follow it.
    Tenant(&'a Tenant),
    Waiting(&'a Finding, Diff),
    Open(Sym, Number, &'a Summary),
    Recent(Sym, Vec<(AlertId, (Number, Tick))>),
}

/// The same as it is read.
#[derive(Deserialize)]
enum Item {
    All(Tick, tenants::Lists),
    Tenant(Box<Tenant>),
    Waiting(Finding, Diff),
    Open(Sym, Number, Box<Summary>),
    Recent(Sym, Vec<(AlertId, (Number, Tick))>),
}

/// Recent alerts of an item, at most.
const AT_ONCE: usize = 1_024;

/// Tells what a worker remembers; the first one also what all know.
fn keep(items: &mut Items, is_first: bool, (tenants, waiting, acted): (&mut Tenants, &Waiting, Tick)) {
    if is_first {
        items.put(&Kept::All(acted, &tenants.listed));
    }
    for tenant in tenants.by_name.values_mut() {
        // What grows with alerts goes one by one: no item may be as large as a tenant can be.
        let (open, recent) = (std::mem::take(&mut tenant.open), std::mem::take(&mut tenant.recent));
        items.put(&Kept::Tenant(tenant));
        for (number, summary) in &open {
            items.put(&Kept::Open(tenant.name, *number, summary));
        }
        let mut rest = recent.iter().map(|(id, until)| (*id, *until)).peekable();
        while rest.peek().is_some() {
            items.put(&Kept::Recent(tenant.name, rest.by_ref().take(AT_ONCE).collect()));
        }
        (tenant.open, tenant.recent) = (open, recent);
    }
    for ((_, finding), diff) in waiting {
        items.put(&Kept::Waiting(finding, *diff));
    }
}

/// Takes back what was kept and leads to this worker.
fn restore(
    keeping: &Keeping,
    own: u64,
    (tenants, waiting, acted): (&mut Tenants, &mut Waiting, &mut Tick),
    settings: &Settings,
) {
    let of_tenant = |item: &Item| match item {
        Item::Tenant(tenant) => route(tenant.name),
        Item::Waiting(finding, _) => route(finding.tenant),
        Item::Open(tenant, ..) | Item::Recent(tenant, _) => route(*tenant),
        // Every worker's.
        Item::All(..) => own,
    };
    keeping.restore(of_tenant, |item| match item {
        Item::Tenant(tenant) => tenants.put(*tenant, settings),
        Item::Waiting(finding, diff) => add(waiting, finding, diff),
        Item::Open(tenant, number, summary) => {
            tenants.of(tenant, settings).open.insert(number, summary);
        }
        Item::Recent(tenant, all) => tenants.of(tenant, settings).recent.extend(all),
        Item::All(at, listed) => {
            *acted = at;
            tenants.listed = listed;
        }
    });
}

/// Findings until they are acted on.
type Waiting = BTreeMap<(Tick, Finding), Diff>;

/// Notes a finding until it is acted on, or its withdrawal.
fn add(waiting: &mut Waiting, finding: Finding, diff: Diff) {
    let sum = waiting.entry((finding.tick, finding.clone())).or_default();
    *sum += diff;
    if *sum == 0 {
        waiting.remove(&(finding.tick, finding));
    }
}

/// Acting early, findings that were acted on and are withdrawn, unless the same rule finds as much and more now.
fn withdrawn(due: &Waiting) -> Vec<Finding> {
    let (stand, gone): (Vec<_>, Vec<_>) = due.iter().partition(|(_, diff)| **diff > 0);
    if gone.is_empty() {
        return Vec::new();
    }
    let mut now: FxHashMap<_, Vec<&Finding>> = FxHashMap::default();
    for ((_, finding), _) in stand {
        now.entry((finding.tenant, finding.correlation, finding.group)).or_default().push(finding);
    }
    let is_gone = |gone: &&Finding| {
        let stand = now.get(&(gone.tenant, gone.correlation, gone.group));
        !stand.is_some_and(|stand| stand.iter().any(|finding| finding.holds(gone)))
    };
    gone.into_iter().map(|((_, finding), _)| finding).filter(is_gone).cloned().collect()
}

/// A finding's place is right after the alert that completed it.
fn place(finding: &Finding) -> Option<(Tick, i64, AlertId)> {
    finding.alert_ids.last().map(|id| (finding.tick, finding.time, *id))
}

/// Where one turn's results gather.
struct Now<'a> {
    settings: &'a Settings,
    index: &'a Index,
    with: &'a mut Publishing,
    versions: &'a mut Vec<Arc<Incident>>,
    members: Vec<Member>,
    links: Vec<Link>,
}

impl Now<'_> {
    /// Two rules' findings of the same alert: by name and group, as text.
    fn by_text(&self, a: &Finding, b: &Finding) -> std::cmp::Ordering {
        let text = |f: &Finding| {
            let names = &self.settings.names;
            (names.get(f.tenant), names.get(f.correlation), names.get(f.group))
        };
        text(a).cmp(&text(b))
    }
}

/// One tenant's incidents.
#[derive(Serialize, Deserialize)]
struct Tenant {
    name: Sym,
    links: Links,
    baselines: Baselines,
    /// Boxed: the table moves what it holds whenever it grows.
    open: FxHashMap<Number, Box<Summary>>,
    deadlines: BTreeMap<Tick, Vec<Number>>,
    recent: FxHashMap<AlertId, (Number, Tick)>,
    dirty: Vec<Number>,
    tick: Tick,
    recent_swept: usize,
    /// What open incidents said at the end of the input, where it went on after that.
    worded: FxHashMap<IncidentId, Incident>,
}

impl Tenant {
    fn alert(&mut self, alert: &Alert, now: &mut Now<'_>) {
        if alert.tick < self.tick {
            return self.alert(&Alert { tick: self.tick, ..alert.clone() }, now);
        }
        self.reach(alert.tick, now);
        let unusual = self.baselines.alert(alert);
        let wanted_s = now.index.lasts_ms(alert).map(|lasts_ms| lasts_ms.div_euclid(1000) + 2);
        let verdict = self.links.alert(alert, wanted_s);
        if let Some(wanted_s) = wanted_s {
            self.recent.insert(alert.id, (verdict.home, alert.tick + wanted_s));
        }
        // One that opened so strong that it was part of a campaign at once has no life of its own to tell.
        if let Some((_, kind)) = verdict.opened.filter(|(number, _)| *number == verdict.home) {
            let succeeds = verdict.succeeds.and_then(|number| self.open.get(&number)).map(|before| before.id);
            self.open.insert(verdict.home, Box::new(Summary::open(alert, kind, succeeds)));
        }
        self.merge(&verdict, alert.tick, now);
        let Some(home) = self.open.get_mut(&verdict.home) else { return };
        home.add(alert);
        home.note(unusual);
        home.strength = verdict.strength;
        if verdict.is_linked {
            home.kind = crate::record::IncidentKind::Linked;
        }
        let (incident_id, tenant, tick) = (home.id, self.name, alert.tick);
        now.members.push(Member { tick, tenant, incident_id, alert_id: alert.id, diff: 1 });
        now.links.extend(verdict.evidence.iter().map(|evidence| Link {
            tick,
            tenant,
            incident_id,
            alert_id: alert.id,
            other_alert_id: evidence.other,
            entity: evidence.entity,
            evidence: evidence.kind,
            weight: evidence.weight,
            diff: 1,
        }));
        self.touch(verdict.home);
    }

    fn finding(&mut self, finding: &Finding, now: &mut Now<'_>) {
        self.reach(finding.tick, now);
        let known = finding.alert_ids.iter().filter_map(|id| Some((*id, self.recent.get(id)?.0)));
        let known: Vec<(AlertId, Number)> = known.collect();
        let Some(verdict) = self.links.finding(finding, known.iter().map(|(_, home)| *home)) else { return };
        let tick = self.tick;
        self.merge(&verdict, tick, now);
        let Some(home) = self.open.get_mut(&verdict.home) else { return };
        home.found(finding.correlation, tick);
        home.strength = verdict.strength;
        home.kind = crate::record::IncidentKind::Linked;
        let incident_id = home.id;
        // An alert whose incident has closed stays where it is.
        let joined = known.iter().filter(|(_, number)| self.links.resolve(*number) == Some(verdict.home));
        let joined: Vec<AlertId> = joined.map(|(id, _)| *id).collect();
        now.links.extend(joined.windows(2).map(|pair| Link {
            tick,
            tenant: self.name,
            incident_id,
            alert_id: pair[1],
            other_alert_id: pair[0],
            entity: None,
            evidence: CORRELATION,
            weight: now.settings.link.correlation_weight,
            diff: 1,
        }));
        self.touch(verdict.home);
    }

    /// Moves the absorbed incidents' members to the home.
    fn merge(&mut self, verdict: &Verdict, tick: Tick, now: &mut Now<'_>) {
        for number in &verdict.absorbed {
            let Some(mut gone) = self.open.remove(number) else { continue };
            let Some(home) = self.open.get_mut(&verdict.home) else { continue };
            let moved = |incident_id: IncidentId, diff: Diff| {
                let tenant = self.name;
                move |alert_id: &AlertId| Member { tick, tenant, incident_id, alert_id: *alert_id, diff }
            };
            now.members.extend(gone.members.iter().map(moved(gone.id, -1)));
            now.members.extend(gone.members.iter().map(moved(home.id, 1)));
            let last = gone.publish((self.name, tick), IncidentState::Merged, Some(home.id), now.with);
            now.versions.push(Arc::new(last));
            home.absorb(*gone);
        }
    }

    fn touch(&mut self, number: Number) {
        let Some(home) = self.open.get_mut(&number) else { return };
        if !home.dirty {
            home.dirty = true;
            self.dirty.push(number);
        }
        if !home.queued {
            home.queued = true;
            let deadline = self.links.closes(number).unwrap_or(home.last_tick);
            self.deadlines.entry(deadline).or_default().push(number);
        }
    }

    /// Publishes what changed in the tick that ends, when a later one begins, and closes what ended before that. What
    /// an incident waits for depends on the alerts so far, so it ends before the next is looked at, not after a batch.
    fn reach(&mut self, tick: Tick, now: &mut Now<'_>) {
        if tick > self.tick {
            self.say(now);
            // Acting early, an alert that is ahead of others closes nothing that they may still join.
            if now.settings.act == Act::Settled {
                self.close(tick, now);
            }
            self.tick = tick;
        }
    }

    /// Publishes what changed and is worth saying, as of the tick that was reached.
    fn say(&mut self, now: &mut Now<'_>) {
        let (strong, solo) = (now.settings.link.strong, now.settings.solo);
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            let Some(home) = self.open.get_mut(&number) else { continue };
            home.dirty = false;
            if home.worth_saying(strong, solo) {
                let at = (self.name, self.tick);
                let version = home.publish(at, IncidentState::Open, None, now.with);
                now.versions.push(Arc::new(version));
            }
        }
        // Nearly every alert has a tick of its own: room for one is not made each time.
        self.dirty = dirty;
    }

    fn turn(&mut self, turn: Turn, now: &mut Now<'_>) {
        // The clock itself says nothing of this tenant: its own last tick stays the time of its last word.
        if self.tick < turn.acts {
            self.say(now);
            self.close(turn.settled, now);
        }
        if turn.last {
            self.last_words(now);
        }
        self.links.sweep(turn.settled);
        if self.recent.len() > self.recent_swept {
            self.recent.retain(|_, (_, until)| *until >= turn.settled);
            self.recent_swept = (self.recent.len() * 2).max(1024);
        }
    }

    fn close(&mut self, settled: Tick, now: &mut Now<'_>) {
        while let Some(entry) = self.deadlines.first_entry().filter(|entry| *entry.key() <= settled) {
            let deadline = *entry.key();
            for number in entry.remove() {
                if !self.open.contains_key(&number) {
                    continue;
                }
                match self.links.closes(number) {
                    Some(later) if later > deadline => self.deadlines.entry(later).or_default().push(number),
                    Some(_) | None => {
                        let Some(mut home) = self.open.remove(&number) else { continue };
                        let at = (self.name, deadline);
                        let version = home.publish(at, IncidentState::Closed, None, now.with);
                        now.versions.push(Arc::new(version));
                        self.links.forget(number);
                    }
                }
            }
        }
    }

    /// The input has ended: incidents that are still open say how they stand. Where it ended before and nothing came since,
    /// they have said so.
    fn last_words(&mut self, now: &mut Now<'_>) {
        let mut open: Vec<&mut Box<Summary>> = self.open.values_mut().collect();
        open.sort_unstable_by_key(|home| home.id);
        let mut worded = FxHashMap::default();
        for home in open {
            let at = (self.name, home.last_tick);
            let word = home.publish(at, IncidentState::Open, None, now.with);
            if self.worded.get(&home.id) != Some(&word) {
                now.versions.push(Arc::new(word.clone()));
            }
            worded.insert(home.id, word);
        }
        self.worded = worded;
    }
}
