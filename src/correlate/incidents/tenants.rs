//! A worker's tenants, each with the entities that never link for it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::super::baseline::Baselines;
use super::super::link::Links;
use super::super::revision::Listed;
use super::{Beside, Now, Settings, Tenant, Waiting, add};
use crate::record::{Alert, Entity, Sym, Tick};

/// Alerts whose incidents are fetched from memory together.
const WARMED: usize = 8;

/// All tenants that a worker has met. What is listed stays until it is taken off.
#[derive(Default)]
pub(super) struct Tenants {
    pub(super) by_name: FxHashMap<Sym, Tenant>,
    /// Entities that never link, by whose list it is; everybody's under the empty name.
    pub(super) listed: Lists,
}

/// Entities that never link, by whose list it is.
pub(super) type Lists = FxHashMap<Sym, FxHashSet<Entity>>;

impl Tenants {
    /// The tenant of that name, begun where there is none.
    pub(super) fn of(&mut self, name: Sym, settings: &Settings) -> &mut Tenant {
        let listed = &self.listed;
        self.by_name.entry(name).or_insert_with(|| {
            let mut links = Links::new(settings.link.clone(), Arc::clone(&settings.names));
            if !listed.is_empty() {
                links.list(own(listed, name));
            }
            Tenant {
                name,
                links,
                baselines: Baselines::default(),
                open: FxHashMap::default(),
                deadlines: BTreeMap::new(),
                recent: FxHashMap::default(),
                dirty: Vec::new(),
                tick: Tick::MIN,
                recent_swept: 1024,
                worded: FxHashMap::default(),
            }
        })
    }

    /// Touches what the next alerts, from `at` on, will look up; for some at once. Where they are of several tenants, in the first
    /// one's tables.
    pub(super) fn warm(&self, alerts: &[Arc<Alert>], at: usize) {
        if !at.is_multiple_of(WARMED) {
            return;
        }
        let Some(tenant) = self.by_name.get(&alerts[at].tenant) else { return };
        let homes = tenant.links.warm(&alerts[at..alerts.len().min(at + WARMED)]);
        let open = homes.iter().filter_map(|home| tenant.open.get(home));
        black_box(
            open.filter(|home| home.dirty || home.members.last().is_some_and(|id| id.0[0] > 0)).count(),
        );
    }

    /// A tenant as it was kept.
    pub(super) fn put(&mut self, mut tenant: Tenant, settings: &Settings) {
        tenant.links.go_on(settings.link.clone(), Arc::clone(&settings.names));
        self.by_name.insert(tenant.name, tenant);
    }

    /// Takes what came beside alerts: incidents are taken apart as of what was acted on before, in the order of their names,
    /// and then the lists change.
    pub(super) fn take(
        &mut self,
        beside: impl Iterator<Item = Beside>,
        waiting: &mut Waiting,
        acted: Tick,
        now: &mut Now<'_>,
    ) {
        let (mut cuts, mut changes) = (Vec::new(), Vec::new());
        for beside in beside {
            match beside {
                Beside::Finding(finding, diff) => add(waiting, finding, diff),
                Beside::Revision(revision) => cuts.push(revision),
                Beside::Listed(_, more) => changes.extend(more),
            }
        }
        cuts.sort_unstable_by_key(|cut| cut.known.incident);
        for cut in cuts {
            let settings = now.settings;
            self.of(cut.known.tenant, settings).revise(&cut, acted, now);
        }
        self.list(&changes);
    }

    /// The lists have changed.
    fn list(&mut self, changes: &[Listed]) {
        if changes.is_empty() {
            return;
        }
        // What is taken off in one file and added in another stays.
        for (whose, entity, _) in changes.iter().filter(|(_, _, diff)| *diff < 0) {
            self.listed.entry(*whose).or_default().remove(entity);
        }
        for (whose, entity, _) in changes.iter().filter(|(_, _, diff)| *diff > 0) {
            self.listed.entry(*whose).or_default().insert(*entity);
        }
        for tenant in self.by_name.values_mut() {
            tenant.links.list(own(&self.listed, tenant.name));
        }
    }
}

/// What is on everybody's list and on a tenant's own.
fn own(listed: &Lists, name: Sym) -> FxHashSet<Entity> {
    [Sym::EMPTY, name].iter().filter_map(|whose| listed.get(whose)).flatten().copied().collect()
}
