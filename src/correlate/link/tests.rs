//! Campaigns by definition: what the index of strong incidents finds is all that a search through them would, whatever is
//! listed meanwhile; and what is listed joins nothing.

use proptest::prelude::*;
use smallvec::smallvec;

use super::*;
use crate::record::{EntityKind, Names, Observable, Role, Severity, Tactics};

fn alert(n: u64, tick: Tick, (host, rule): (u8, u8), names: &Names) -> Alert {
    let host = Entity { kind: EntityKind::Host, value: names.intern(&format!("host-{host}")) };
    let rule = names.intern(&format!("rule-{rule}"));
    Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: tick * 1000,
        tick,
        tenant: Sym::EMPTY,
        source: Sym::EMPTY,
        position: n,
        product: Sym::EMPTY,
        rule,
        title: rule,
        severity: Severity::Low,
        identified: false,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: smallvec![Observable { entity: host, role: Role::Related }],
        unmapped: None,
    }
}

/// Strong incidents that should be one with `home` at `tick`.
fn parted(links: &Links, home: Number, tick: Tick) -> Vec<Number> {
    let settings = &links.settings;
    let mine = &links.bonds[&home];
    let shares = |bond: &Bond| bond.subjects.iter().any(|subject| mine.subjects.contains(subject));
    let strong = links.bonds.iter().filter(|(number, bond)| {
        **number != home
            && bond.is_known_strong
            && tick - bond.last <= settings.campaign_gap_s
            && tick - bond.first <= settings.span_max_s
            && shares(bond)
    });
    strong.map(|(number, _)| *number).collect()
}

proptest! {
    #[test]
    fn campaigns_are_what_a_search_would_find(
        steps in prop::collection::vec((0i64..40_000, 0u8..6, 0u8..12), 1..150),
        strong in 1_000i32..6_000,
    ) {
        let names = Names::default();
        let mut links = Links::new(LinkSettings { strong, ..LinkSettings::default() });
        let mut tick = 1_700_000_000;
        let mut listed: FxHashSet<Entity> = FxHashSet::default();
        for (n, (gap, host, rule)) in (0..).zip(steps) {
            // Most come close together, some after hours.
            tick += if gap % 4 == 0 { gap } else { gap % 600 };
            let alert = alert(n, tick, (host, rule), &names);
            if gap % 11 == 0 {
                let host = alert.entities[0].entity;
                if !listed.remove(&host) {
                    listed.insert(host);
                }
                links.list(listed.clone());
            }
            let verdict = links.alert(&alert, None);
            let by = verdict.evidence.iter().filter_map(|evidence| evidence.entity);
            prop_assert_eq!(by.filter(|entity| listed.contains(entity)).count(), 0);
            if verdict.strength >= strong {
                prop_assert_eq!(parted(&links, verdict.home, tick), Vec::<Number>::new());
            }
            for number in links.bonds.keys().copied().collect::<Vec<_>>() {
                if links.closes(number).is_some_and(|end| end < tick) {
                    links.forget(number);
                }
            }
            links.sweep(tick);
        }
    }
}
