//! Cuts by definition: what is left joined is what a search along the links that stand would reach.

use proptest::prelude::*;
use smallvec::smallvec;

use super::*;
use crate::record::{EntityKind, IncidentId, Names, Observable, Role, Severity, Sym, Tactics};

fn alert(n: usize, (host, user): (u8, u8), names: &Names) -> Arc<Alert> {
    let tick = i64::try_from(n).unwrap();
    let entity = |kind, name: String| Observable {
        entity: Entity { kind, value: names.intern(&name) },
        role: Role::Related,
    };
    Arc::new(Alert {
        id: AlertId::of(&[&n.to_le_bytes()]),
        time: tick * 1000,
        tick,
        tenant: Sym::EMPTY,
        source: Sym::EMPTY,
        position: n as u64,
        product: Sym::EMPTY,
        rule: names.intern("rule"),
        title: names.intern("rule"),
        severity: Severity::Low,
        identified: false,
        further: false,
        tactics: Tactics::default(),
        attacks: Sym::EMPTY,
        entities: smallvec![
            entity(EntityKind::Host, format!("h{host}")),
            entity(EntityKind::User, format!("u{user}"))
        ],
        unmapped: None,
    })
}

fn link(alerts: &[Arc<Alert>], later: usize, earlier: usize, evidence: &'static str) -> Link {
    let entity = alerts[later].entities.iter().map(|it| it.entity);
    let shared = entity.into_iter().find(|one| alerts[earlier].entities.iter().any(|it| it.entity == *one));
    Link {
        tick: 0,
        tenant: Sym::EMPTY,
        incident_id: IncidentId::default(),
        alert_id: alerts[later].id,
        other_alert_id: alerts[earlier].id,
        entity: shared.filter(|_| evidence == "entity"),
        evidence,
        weight: 2_000,
        diff: 1,
    }
}

#[test]
fn two_hosts_that_one_alert_joined_part() {
    let names = Names::default();
    // The last of host 1 is the first of user 7, whom host 2 follows.
    let all: Vec<_> = [(1, 0), (1, 0), (1, 7), (2, 7), (2, 7), (1, 3)]
        .into_iter()
        .enumerate()
        .map(|(n, who)| alert(n, who, &names))
        .collect();
    let links = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 2)].map(|(a, b)| link(&all, a, b, "entity"));
    let parted = cut(&all, &links, Unrelated::Alert(all[2].id)).unwrap();
    assert_eq!(parted.parts, [vec![0, 1, 5], vec![2], vec![3, 4]]);
    assert_eq!(parted.dropped, [1, 2, 4]);
    // The host goes on without it.
    let mended: Vec<_> = parted.mended.iter().map(|link| (link.alert_id, link.other_alert_id)).collect();
    assert_eq!(mended, [(all[5].id, all[1].id)]);
    let user = all[2].entities[1].entity;
    assert_eq!(cut(&all, &links, Unrelated::Entity(user)).unwrap().parts, [vec![0, 1, 2, 5], vec![3, 4]]);
    let one = cut(&all, &links, Unrelated::Link(all[2].id, all[3].id)).unwrap();
    assert_eq!(one.parts, [vec![0, 1, 2, 5], vec![3, 4]]);
    let none = Unrelated::Link(all[0].id, all[3].id);
    assert_eq!(cut(&all, &links, none), Err(Whole::NoLink(all[0].id, all[3].id)));
    assert_eq!(cut(&all[..1], &[], Unrelated::Alert(all[0].id)), Err(Whole::Nothing));
    let host = all[3].entities[0].entity;
    assert_eq!(
        cut(&all, &links, Unrelated::Entity(host)),
        Ok(Cut { parts: vec![vec![0, 1, 2, 3, 5], vec![4]], dropped: vec![3], mended: vec![] })
    );
}

#[test]
fn a_session_loses_one_alert_and_not_itself() {
    let names = Names::default();
    let all: Vec<_> = (0..5).map(|n| alert(n, (1, 1), &names)).collect();
    let parted = cut(&all, &[], Unrelated::Alert(all[2].id)).unwrap();
    assert_eq!(parted.parts, [vec![0, 1, 3, 4], vec![2]]);
}

/// A finding of alerts at these places.
fn finding(alerts: &[Arc<Alert>], places: &[usize]) -> Finding {
    Finding { alert_ids: places.iter().map(|at| alerts[*at].id).collect(), ..Finding::default() }
}

#[test]
fn what_another_finding_holds_stays_when_one_is_withdrawn() {
    let names = Names::default();
    let all: Vec<_> = (0u8..4).map(|n| alert(n.into(), (n, n), &names)).collect();
    let links = [(1, 0), (2, 1), (3, 2)].map(|(a, b)| link(&all, a, b, CORRELATION));
    let [gone, other] = [&[1, 2, 3][..], &[1, 2]].map(|places| finding(&all, places));
    let gone = [&gone];
    let withdrawn = |standing| Unrelated::Withdrawn { gone: &gone, standing };
    let parted = cut(&all, &links, withdrawn(std::slice::from_ref(&other))).unwrap();
    assert_eq!((parted.parts, parted.dropped), (vec![vec![0, 1, 2], vec![3]], vec![2]));
    let parted = cut(&all, &links, withdrawn(&[])).unwrap();
    assert_eq!((parted.parts, parted.dropped), (vec![vec![0, 1], vec![2], vec![3]], vec![1, 2]));
    // What the host joins, too, stays whole, without what the finding said.
    let host = link(&all, 3, 2, "entity");
    let both = [links[2].clone(), host];
    let whole = cut(&all[2..], &both, withdrawn(&[])).unwrap();
    assert_eq!((whole.parts, whole.dropped), (vec![vec![0, 1]], vec![0]));
}

proptest! {
    #[test]
    fn what_a_withdrawn_finding_held_alone_parts(
        count in 2usize..12,
        tree in prop::collection::vec((any::<u16>(), any::<bool>()), 12),
        found in prop::collection::vec(prop::collection::btree_set(0usize..12, 2..5), 1..5),
    ) {
        let names = Names::default();
        let all: Vec<_> = (0..count).map(|n| alert(n, (0, 0), &names)).collect();
        let found: Vec<Vec<usize>> =
            found.into_iter().map(|places| places.into_iter().filter(|at| *at < count).collect()).collect();
        let mut links = Vec::new();
        for (later, (pick, joins)) in (1..count).zip(&tree) {
            links.extend(joins.then(|| link(&all, later, usize::from(*pick) % later, "entity")));
        }
        for places in &found {
            links.extend(places.windows(2).map(|two| link(&all, two[1], two[0], CORRELATION)));
        }
        let findings: Vec<Finding> = found.iter().map(|places| finding(&all, places)).collect();
        let (gone, standing) = findings.split_first().unwrap();
        prop_assume!(!gone.alert_ids.is_empty());
        let cut = cut(&all, &links, Unrelated::Withdrawn { gone: &[gone], standing }).unwrap();
        // By definition: what stands without it, by alerts of each finding as a whole and by what else joins them.
        let mut root: Vec<usize> = (0..count).collect();
        let mut join = |one: usize, other: usize| {
            let (from, to) = (root[one], root[other]);
            root.iter_mut().filter(|at| **at == from).for_each(|at| *at = to);
        };
        found[1..].iter().flat_map(|places| places.windows(2)).for_each(|two| join(two[0], two[1]));
        for (later, (pick, joins)) in (1..count).zip(&tree) {
            if *joins {
                join(later, usize::from(*pick) % later);
            }
        }
        let part = |at: usize| cut.parts.iter().position(|part| part.contains(&at)).unwrap();
        // What nothing joined before is together as far as nothing parted it: see `hold_together`.
        for one in &found[0] {
            for other in &found[0] {
                let apart = root[*one] != root[*other];
                prop_assert_eq!(part(*one) != part(*other), apart, "{} and {} in {:?}", one, other, cut.parts);
            }
        }
    }

    #[test]
    fn parts_are_what_a_search_reaches(
        hosts in prop::collection::vec((0u8..4, 0u8..4), 2..30),
        picks in prop::collection::vec((any::<u16>(), 0usize..4), 1..40),
        word in (any::<u16>(), 0u8..3),
    ) {
        let names = Names::default();
        let all: Vec<_> = hosts.iter().enumerate().map(|(n, who)| alert(n, *who, &names)).collect();
        // A tree, and some links more.
        let mut links = Vec::new();
        for later in 1..all.len() {
            let (pick, kind) = picks[later % picks.len()];
            let kind = ["entity", "session", "rule", "site"][kind];
            links.push(link(&all, later, usize::from(pick) % later, kind));
        }
        let pick = usize::from(word.0);
        let of_link = &links[pick % links.len()];
        let word = match (word.1, of_link.entity) {
            (0, _) => Unrelated::Link(of_link.alert_id, of_link.other_alert_id),
            (1, Some(entity)) => Unrelated::Entity(entity),
            _ => Unrelated::Alert(all[pick % all.len()].id),
        };
        let Ok(cut) = cut(&all, &links, word) else { return Ok(()) };
        let kept = (0..links.len()).filter(|at| !cut.dropped.contains(at)).map(|at| &links[at]);
        let kept: Vec<&Link> = kept.chain(&cut.mended).collect();
        let place = |id: AlertId| all.iter().position(|alert| alert.id == id).unwrap();
        let mut seen = vec![0; all.len()];
        for part in &cut.parts {
            let mut reached = vec![part[0]];
            let mut next = 0;
            while next < reached.len() {
                for link in &kept {
                    let ends = [place(link.alert_id), place(link.other_alert_id)];
                    for (here, there) in [(ends[0], ends[1]), (ends[1], ends[0])] {
                        if here == reached[next] && !reached.contains(&there) {
                            reached.push(there);
                        }
                    }
                }
                next += 1;
            }
            reached.sort_unstable();
            prop_assert_eq!(&reached, part);
            for at in part {
                seen[*at] += 1;
            }
        }
        prop_assert!(seen.iter().all(|n| *n == 1));
        let most = cut.parts.iter().map(Vec::len).max().unwrap();
        prop_assert_eq!(cut.parts[0].len(), most);
        let ties = cut.parts.iter().filter(|part| part.len() == most).map(|part| part[0]);
        prop_assert_eq!(ties.min(), Some(cut.parts[0][0]));
        if let Unrelated::Alert(id) = word {
            prop_assert!(cut.parts.iter().any(|part| *part == [place(id)]));
        }
    }
}
