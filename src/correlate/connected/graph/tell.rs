//! Tell: what is said of components at the end of a turn, and what no longer holds.

use super::{
    AlertId, Arc, Component, Diff, FxHashSet, Graph, Member, Millis, Order, Place, SAME_ALERT_S, Said, Tick,
    Told, Turn, tick_of,
};

/// What is provisional is said to settle by as much later than it would end now as it has lasted, at most a day: so what
/// lasts is told anew ever more seldom.
const LASTED_MAX_MS: Millis = 86_400_000;

impl Graph {
    /// The end of an epoch: settles, and says what has changed.
    pub fn turn(&mut self, turn: Turn, mut say: impl FnMut(&Said, Diff)) {
        for said in std::mem::take(&mut self.withdrawn) {
            say(&said, -1);
        }
        self.settle(turn.settled);
        self.pass(turn.settled, &mut say);
        for ticket in std::mem::take(&mut self.grown) {
            if self.components.holds(ticket) {
                self.components[ticket.0].has_grown = false;
                self.tell(ticket.0, self.provisional_ms(ticket.0), &mut say);
            }
        }
        if turn.last {
            // The input has ended: each as it stands.
            for place in self.components.places() {
                if !self.components[place].cores.is_empty() && self.components[place].size >= self.least {
                    self.tell(place, self.ends_ms(place), &mut say);
                }
            }
        }
    }

    /// Notes a component that must be told: it has enough alerts, or twice as many as when it was.
    pub(super) fn note(&mut self, place: Place) {
        let ticket = self.components.ticket(place);
        let Component { size, told, has_grown, .. } = &mut self.components[place];
        let told = told.as_ref().map_or(0, |told| told.size);
        if !*has_grown && *size >= self.least && *size >= told * 2 {
            *has_grown = true;
            self.grown.push(ticket);
        }
    }

    /// Says the last of the components that have ended, and anew what is about to settle of those that have not.
    fn pass(&mut self, before: Tick, say: &mut impl FnMut(&Said, Diff)) {
        while let Some(entry) = self.looks.first_entry().filter(|entry| *entry.key() < before) {
            let tick = *entry.key();
            for ticket in entry.remove() {
                let place = ticket.0;
                if !self.components.holds(ticket) || self.components[place].look != tick {
                    continue;
                }
                let ends_ms = self.ends_ms(place);
                let enough = self.components[place].size >= self.least;
                if tick_of(ends_ms) < before {
                    if enough {
                        self.tell(place, ends_ms, say);
                    }
                    self.end(place);
                    continue;
                }
                let settles =
                    |component: &Component| component.told.as_ref().map(|told| told.said.order.tick);
                if settles(&self.components[place]).is_some_and(|settles| settles < before) {
                    self.tell(place, self.provisional_ms(place), say);
                }
                let next = settles(&self.components[place])
                    .map_or(tick_of(ends_ms), |settles| settles.min(tick_of(ends_ms)));
                self.look(place, next);
            }
        }
    }

    fn end(&mut self, place: Place) {
        for core in self.components.take(place).cores {
            self.cores[core].component = None;
            self.let_go(core);
        }
    }

    fn provisional_ms(&self, place: Place) -> Millis {
        let Component { first_ms, last_ms, .. } = &self.components[place];
        let lasted = last_ms.saturating_sub(*first_ms);
        self.ends_ms(place).saturating_add(lasted.min(LASTED_MAX_MS))
    }

    /// Says how a component stands, and takes back what was said before; nothing where that is the same.
    fn tell(&mut self, place: Place, at_ms: Millis, say: &mut impl FnMut(&Said, Diff)) {
        let said = self.word(place, at_ms);
        let Component { told, size, .. } = &mut self.components[place];
        let before = told.as_ref().map(|told| &told.said);
        if before == Some(&said) {
            return;
        }
        if let Some(before) = before {
            say(before, -1);
        }
        say(&said, 1);
        *told = Some(Box::new(Told { said, size: *size }));
    }

    fn word(&self, place: Place, at_ms: Millis) -> Said {
        let Component { cores, size, first_ms, last_ms, .. } = &self.components[place];
        let mut members: Vec<&Member> = Vec::with_capacity(*size);
        members.extend(cores.iter().flat_map(|core| &self.cores[*core].members));
        members.sort_unstable_by(|a, b| (a.tick, a.time, a.id, &a.ids).cmp(&(b.tick, b.time, b.id, &b.ids)));
        let mut ids: Vec<AlertId> = Vec::with_capacity(*size);
        for member in &members {
            match &member.ids {
                Some(own) => ids.extend(own.iter()),
                None => ids.push(member.id),
            }
        }
        // One alert may be part of several findings, and an id is another alert's after a day.
        let lasted_s = last_ms.saturating_sub(*first_ms).div_euclid(1000) + 1;
        if lasted_s >= SAME_ALERT_S || members.iter().any(|member| member.ids.is_some()) {
            let mut seen = FxHashSet::default();
            ids.retain(|id| seen.insert(*id));
        }
        let first = cores.iter().min_by_key(|core| self.cores[**core].first);
        let (time, id) = members.last().map(|last| (last.time, last.id)).unwrap_or_default();
        Said {
            order: Order { tick: tick_of(at_ms), time: at_ms, id, position: 0 },
            time,
            values: first.map(|core| self.cores[*core].values.clone()).unwrap_or_default(),
            ids: Arc::new(ids),
        }
    }
}
