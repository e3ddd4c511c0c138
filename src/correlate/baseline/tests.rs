//! Baselines against a recount of all earlier alerts for each alert.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::record::{AlertId, Entity, Names, Role, Tick};

fn alert(names: &Names, tick: Tick, users: &[u8], hosts: &[u8]) -> Alert {
    let of = |kind, prefix: &'static str, values: &[u8]| {
        let entity = move |value: &u8| Entity { kind, value: names.intern(&format!("{prefix}{value}")) };
        values.iter().map(entity).map(|entity| Observable { entity, role: Role::Related }).collect::<Vec<_>>()
    };
    let entities = [of(EntityKind::User, "u", users), of(EntityKind::Host, "h", hosts)].concat();
    Alert {
        id: AlertId::of(&[&tick.to_le_bytes()]),
        time: tick * 1000,
        tick,
        entities: entities.into(),
        ..Alert::bare()
    }
}

type Seen = (Tick, Vec<u8>, Vec<u8>);

/// Activity before the hour of `tick`, from the list of what was seen: the sum of what each active hour has left. What falls
/// below a sixteenth in between is forgotten.
fn recount(seen: &[Seen], tick: Tick, has: impl Fn(&Seen) -> bool) -> (f64, [f64; 24]) {
    let now = tick / HOUR_S;
    let hours: BTreeSet<i64> =
        seen.iter().filter(|it| has(it)).map(|it| it.0 / HOUR_S).filter(|h| *h < now).collect();
    let (mut sum, mut by_hour, mut at) = (0.0, [0.0; 24], 0);
    for hour in hours.into_iter().chain([now]) {
        let left = 0.5f64.powf((hour - at) as f64 / 168.0);
        let left = if sum * left < FORGOTTEN { 0.0 } else { left };
        sum *= left;
        for weight in &mut by_hour {
            *weight *= left;
        }
        if hour < now {
            sum += 1.0;
            by_hour[of_day(hour)] += 1.0;
        }
        at = hour;
    }
    (sum, by_hour)
}

/// Both say the same to two thousandths; near what is worth saying either may say it.
fn agrees(said: i32, want: f64, least: i32) -> bool {
    let want = (want * 1000.0).min(f64::from(super::super::rarity::SURPRISE_MAX.max(said)));
    if said == 0 { want < f64::from(least) + 2.0 } else { (f64::from(said) - want).abs() <= 2.0 }
}

fn check(seen: &[Seen], said: Unusual) -> Result<(), TestCaseError> {
    let ((tick, users, hosts), before) = seen.split_last().unwrap();
    let observed: f64 = (0..(tick - seen[0].0) / HOUR_S).map(|hour| 0.5f64.powf(hour as f64 / 168.0)).sum();
    let (mut rarity, mut hour, mut pair, mut close) = (0.0f64, 0.0f64, false, false);
    let alone = users.iter().map(|user| (true, *user)).chain(hosts.iter().map(|host| (false, *host)));
    for (is_user, value) in alone {
        let has = |it: &Seen| if is_user { it.1.contains(&value) } else { it.2.contains(&value) };
        let (active, by_hour) = recount(before, *tick, has);
        rarity = rarity.max(((observed + 1.0) / (active + 0.5)).log10());
        close |= (active - HOURS_KNOWN).abs() < 1e-6;
        if is_user && active >= HOURS_KNOWN {
            let near: f64 = [-1, 0, 1].map(|by| by_hour[of_day(tick / HOUR_S + by)]).iter().sum();
            hour = hour.max(((active + 1.0) / (near + 0.5)).log10());
        }
        for host in hosts.iter().filter(|_| is_user) {
            let (at_host, _) = recount(before, *tick, |it| it.2.contains(host));
            let (together, _) = recount(before, *tick, |it| it.1.contains(&value) && it.2.contains(host));
            close |= (active - KNOWN).abs() < 1e-6 || (at_host - KNOWN).abs() < 1e-6;
            pair |= together <= 0.0 && active >= KNOWN && at_host >= KNOWN;
        }
    }
    if !close {
        prop_assert!(agrees(said.rarity, rarity, RARITY_MIN), "{} for {rarity}", said.rarity);
        prop_assert!(agrees(said.unusual_hour, hour, HOUR_MIN), "{} for {hour}", said.unusual_hour);
        prop_assert_eq!(said.new_pair, pair);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is said of an alert is what a recount of all before it says.
    #[test]
    fn what_is_said_is_a_recount(
        steps in prop::collection::vec(
            (0i64..20, prop::collection::btree_set(0u8..4, 0..3), prop::collection::btree_set(0u8..4, 0..3)),
            1..80,
        ),
        pace in prop::sample::select(vec![600, 3_600, 80_000]),
    ) {
        let (names, mut baselines) = (Names::default(), Baselines::default());
        let (mut seen, mut tick) = (Vec::<Seen>::new(), 1_767_700_000);
        for (later, users, hosts) in steps {
            tick += later * pace;
            let (users, hosts): (Vec<u8>, Vec<u8>) = (users.into_iter().collect(), hosts.into_iter().collect());
            let said = baselines.alert(&alert(&names, tick, &users, &hosts));
            seen.push((tick, users, hosts));
            check(&seen, said)?;
        }
    }
}

#[test]
fn what_is_remembered_of_an_hour_ends_with_the_observed_hour() {
    let (names, mut baselines) = (Names::default(), Baselines::default());
    let start = 1_767_700_000 / HOUR_S * HOUR_S + 1_800;
    baselines.alert(&alert(&names, start, &[], &[]));
    // The site is observed for 11 hours, then for 12, within one hour of the clock.
    let [before, after] = [2_400, 3_900].map(|later| start + 11 * HOUR_S + later);
    assert_eq!(before / HOUR_S, after / HOUR_S);
    let rarity = [before, after].map(|tick| baselines.alert(&alert(&names, tick, &[1], &[1])).rarity);
    assert!(rarity[0] < rarity[1], "{rarity:?}");
}

#[test]
fn a_working_day_is_usual_and_a_night_is_not() {
    let (names, mut baselines) = (Names::default(), Baselines::default());
    let (day, hour) = (24 * HOUR_S, HOUR_S);
    for tick in (0..14).flat_map(|n| (8..17).map(move |h| n * day + h * hour)) {
        let on_one = if tick / HOUR_S % 2 == 0 { 1 } else { 2 };
        baselines.alert(&alert(&names, tick, &[1], &[on_one]));
        baselines.alert(&alert(&names, tick + 60, &[2], &[3]));
    }
    let at = |h| 14 * day + h * hour;
    let by_night = baselines.alert(&alert(&names, at(3), &[1], &[3]));
    assert!(by_night.unusual_hour > 1_500 && by_night.new_pair, "{by_night:?}");
    assert_eq!(by_night.rarity, 0, "both are known");
    let again = baselines.alert(&alert(&names, at(3) + 900, &[1], &[3]));
    assert_eq!(again, by_night, "an hour's alerts do not make each other usual");
    let by_day = baselines.alert(&alert(&names, at(10), &[1], &[2]));
    assert_eq!(by_day, Unusual::default());
    let stranger = baselines.alert(&alert(&names, at(11), &[9], &[2]));
    assert!(stranger.rarity > 2_000 && !stranger.new_pair, "{stranger:?}");
}

#[test]
fn a_flood_of_names_is_bounded_and_forgotten() {
    let (names, mut baselines) = (Names::default(), Baselines::bounded(100));
    for n in 0..=255u8 {
        baselines.alert(&alert(&names, i64::from(n), &[n], &[]));
    }
    assert_eq!(baselines.known.len(), 100);
    // One active hour has less than a sixteenth left after four weeks.
    baselines.alert(&alert(&names, 29 * 24 * HOUR_S, &[1], &[1]));
    assert_eq!(baselines.known.len(), 3);
}
