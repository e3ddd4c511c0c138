//! Summary: what an open incident adds up to, and when that is worth publishing.
//!
//! State: one per open incident. Its lists are bounded; what exceeds them is counted.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use serde::{Deserialize, Serialize};

use crate::record::incident::{ENTITIES_MAX, RULES_MAX};
use crate::record::{
    Alert, AlertId, Entity, Incident, IncidentId, IncidentKind, IncidentState, Millis, Names, Severity, Sym,
    Tactics, Tick, Unusual,
};

/// An open incident.
#[derive(Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub id: IncidentId,
    /// Linked or background.
    pub kind: IncidentKind,
    /// The incident that it goes on from.
    pub succeeds: Option<IncidentId>,
    /// Tick of its last alert.
    pub last_tick: Tick,
    /// Sum of surprises.
    pub strength: i32,
    /// Its alerts.
    pub members: Vec<AlertId>,
    /// Whether a deadline is waiting for it.
    pub queued: bool,
    /// Whether it changed in the current tick.
    pub dirty: bool,
    first_seen: Millis,
    last_seen: Millis,
    severities: [u32; 7],
    tactics: Tactics,
    attacks: SmallVec<[Sym; 2]>,
    entities: SmallVec<[Entity; 4]>,
    many_entities: FxHashSet<Entity>,
    rules: SmallVec<[(Sym, u32); 2]>,
    products: SmallVec<[Sym; 2]>,
    correlations: SmallVec<[Sym; 1]>,
    unusual: Unusual,
    published: Option<Published>,
}

/// What the last version said, of what makes a new one worth saying.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Published {
    count: usize,
    severity: Severity,
    tactics: Tactics,
    entities: usize,
    rules: usize,
    correlations: usize,
    strong: bool,
    unusual: [bool; 3],
}

/// What versions are published with.
pub struct Publishing {
    /// The sum of surprises from which on an incident is strong.
    pub strong: i32,
    /// Strings.
    pub names: Arc<Names>,
    /// The parts of lists of ATT&CK ids: there are few, and nearly every incident has one. Emptied when it is full.
    lists: FxHashMap<SmallVec<[Sym; 2]>, Arc<[Sym]>>,
}

impl Publishing {
    const LISTS_MAX: usize = 4096;

    /// Nothing published yet.
    #[must_use]
    pub fn new(strong: i32, names: Arc<Names>) -> Publishing {
        Publishing { strong, names, lists: FxHashMap::default() }
    }

    /// The ids in these comma-separated lists, sorted by text, each once.
    fn attacks(&mut self, lists: &SmallVec<[Sym; 2]>) -> Arc<[Sym]> {
        if let Some(known) = self.lists.get(lists) {
            return Arc::clone(known);
        }
        let split = |list: &Sym| self.names.with(*list, |text| text.split(',').map(str::to_owned).collect());
        let mut ids: Vec<String> = lists.iter().flat_map(|list| -> Vec<String> { split(list) }).collect();
        ids.retain(|id| !id.is_empty());
        ids.sort_unstable();
        ids.dedup();
        let ids: Arc<[Sym]> = ids.iter().map(|id| self.names.intern(id)).collect();
        if self.lists.len() >= Self::LISTS_MAX {
            self.lists.clear();
        }
        self.lists.insert(lists.clone(), Arc::clone(&ids));
        ids
    }
}

impl Summary {
    /// A new incident, named after its first alert.
    #[must_use]
    pub fn open(alert: &Alert, kind: IncidentKind, succeeds: Option<IncidentId>) -> Self {
        Self {
            // A vendor may use an id again a day later: the tick tells the two alerts apart.
            id: IncidentId::of(&[&alert.id.0, &alert.tick.to_le_bytes()]),
            kind,
            succeeds,
            last_tick: alert.tick,
            strength: 0,
            members: Vec::new(),
            queued: false,
            dirty: false,
            first_seen: alert.time,
            last_seen: alert.time,
            severities: [0; 7],
            tactics: Tactics::default(),
            attacks: SmallVec::new(),
            entities: SmallVec::new(),
            many_entities: FxHashSet::default(),
            rules: SmallVec::new(),
            products: SmallVec::new(),
            correlations: SmallVec::new(),
            unusual: Unusual::default(),
            published: None,
        }
    }

    /// An incident of that name again, from its alerts in order.
    #[must_use]
    pub fn rebuild(
        id: IncidentId,
        alerts: &[Arc<Alert>],
        kind: IncidentKind,
        succeeds: Option<IncidentId>,
    ) -> Self {
        let mut home = Self { id, ..Self::open(&alerts[0], kind, succeeds) };
        for alert in alerts {
            home.add(alert);
        }
        home
    }

    /// Adds an alert.
    pub fn add(&mut self, alert: &Alert) {
        self.members.push(alert.id);
        self.first_seen = self.first_seen.min(alert.time);
        self.last_seen = self.last_seen.max(alert.time);
        self.last_tick = self.last_tick.max(alert.tick);
        self.severities[usize::from(alert.severity.id())] += 1;
        self.tactics = self.tactics.union(alert.tactics);
        add_once(&mut self.attacks, alert.attacks, RULES_MAX);
        add_once(&mut self.products, alert.product, RULES_MAX);
        for observable in &alert.entities {
            self.add_entity(observable.entity);
        }
        count(&mut self.rules, alert.title, 1);
    }

    /// Adds what is unusual about an alert.
    pub fn note(&mut self, unusual: Unusual) {
        self.unusual = self.unusual.max(unusual);
    }

    /// Adds a correlation's finding.
    pub fn found(&mut self, correlation: Sym, tick: Tick) {
        add_once(&mut self.correlations, correlation, RULES_MAX);
        self.last_tick = self.last_tick.max(tick);
    }

    /// Takes in another incident.
    pub fn absorb(&mut self, other: Summary) {
        self.members.extend(other.members);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.last_tick = self.last_tick.max(other.last_tick);
        for (sum, n) in self.severities.iter_mut().zip(other.severities) {
            *sum += n;
        }
        self.tactics = self.tactics.union(other.tactics);
        self.note(other.unusual);
        other.attacks.iter().for_each(|attack| add_once(&mut self.attacks, *attack, RULES_MAX));
        other.products.iter().for_each(|product| add_once(&mut self.products, *product, RULES_MAX));
        other.correlations.iter().for_each(|found| add_once(&mut self.correlations, *found, RULES_MAX));
        for entity in &other.entities {
            self.add_entity(*entity);
        }
        other.rules.iter().for_each(|(rule, n)| count(&mut self.rules, *rule, *n));
    }

    fn add_entity(&mut self, entity: Entity) {
        const FEW: usize = 12;
        if self.many_entities.is_empty() {
            if self.entities.contains(&entity) {
                return;
            }
            if self.entities.len() >= FEW {
                self.many_entities.extend(self.entities.iter().copied());
            }
        }
        let many = !self.many_entities.is_empty();
        if many && (self.many_entities.len() >= ENTITIES_MAX || !self.many_entities.insert(entity)) {
            return;
        }
        self.entities.push(entity);
    }

    /// The highest severity of its alerts.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let highest = self.severities.iter().rposition(|n| *n > 0).unwrap_or(0);
        Severity::ALL[highest]
    }

    /// Whether it changed so much since it was last published that it is worth saying: it is new, a kind of thing came
    /// in that it did not have, or it doubled. A background session below `solo` is only told when it ends.
    #[must_use]
    pub fn worth_saying(&self, strong: i32, solo: Severity) -> bool {
        if self.kind == IncidentKind::Background && self.severity() < solo {
            return false;
        }
        let now = self.measure(strong);
        let Some(then) = self.published else { return true };
        now.count >= then.count * 2
            || now.severity > then.severity
            || now.tactics != then.tactics
            || now.entities >= then.entities * 2
            || now.rules > then.rules
            || now.correlations > then.correlations
            || now.strong && !then.strong
            || now.unusual != then.unusual
    }

    /// Whether any version has been published.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.published.is_some()
    }

    fn measure(&self, strong: i32) -> Published {
        Published {
            count: self.members.len(),
            severity: self.severity(),
            tactics: self.tactics,
            entities: self.entities.len(),
            rules: self.rules.len(),
            correlations: self.correlations.len(),
            strong: self.strength >= strong,
            unusual: self.unusual.kinds(),
        }
    }

    /// A version of it, for `tick`; its number is given where versions are ranked.
    pub fn publish(
        &mut self,
        (tenant, tick): (Sym, Tick),
        state: IncidentState,
        merged_into: Option<IncidentId>,
        with: &mut Publishing,
    ) -> Incident {
        self.published = Some(self.measure(with.strong));
        let attacks = with.attacks(&self.attacks);
        let names = &with.names;
        Incident {
            id: self.id,
            version: 0,
            tick,
            tenant,
            kind: self.kind,
            state,
            merged_into,
            succeeds: self.succeeds,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            alert_count: self.members.len() as u64,
            severities: self.severities,
            severity: self.severity(),
            tactics: self.tactics,
            attacks,
            entities: sorted(&self.entities, |a, b| a.compare(*b, names)),
            entity_count: u32::try_from(self.entities.len()).unwrap_or(u32::MAX),
            rules: sorted(&self.rules, |a, b| names.compare(a.0, b.0)),
            products: sorted(&self.products, |a, b| names.compare(*a, *b)),
            correlations: sorted(&self.correlations, |a, b| names.compare(*a, *b)),
            evidence: self.strength,
            unusual: self.unusual,
        }
    }
}

fn sorted<T: Copy>(items: &[T], compare: impl Fn(&T, &T) -> std::cmp::Ordering) -> Arc<[T]> {
    let mut items: Arc<[T]> = items.into();
    Arc::make_mut(&mut items).sort_unstable_by(compare);
    items
}

fn add_once<const N: usize>(list: &mut SmallVec<[Sym; N]>, item: Sym, max: usize)
where
    [Sym; N]: smallvec::Array<Item = Sym>,
{
    if item != Sym::EMPTY && list.len() < max && !list.contains(&item) {
        list.push(item);
    }
}

fn count(rules: &mut SmallVec<[(Sym, u32); 2]>, rule: Sym, n: u32) {
    if let Some((_, sum)) = rules.iter_mut().find(|(known, _)| *known == rule) {
        *sum += n;
    } else if rules.len() < RULES_MAX {
        rules.push((rule, n));
    }
}
