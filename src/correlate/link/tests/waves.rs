//! What comes in numbers: waves over many accounts, the one account that a wave led to, floods that began beside a story, and
//! what common pairs do all day.

use super::{START, Site};
use crate::correlate::bond::Number;
use crate::plan::link::LinkSettings;
use crate::record::{Finding, Sym};

/// A site that has been watched for three days.
fn watched() -> Site {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
    }
    site
}

const NOW: i64 = START + 72 * 3600;

#[test]
fn a_flood_leaves_the_story_that_it_began_beside() {
    let mut site = watched();
    for step in 0..6 {
        site.tell("story", NOW + step * 60, "attachment", &[&format!("user:u{step}"), "hash:0badc0de"]);
    }
    // Ads for one of them, twenty minutes later.
    for step in 0..600 {
        site.tell("flood", NOW + 1_500 + step, "junk", &["user:u3"]);
    }
    let story = site.of("story");
    assert_eq!(story.len(), 1, "{story:?}");
    assert!(story[0].0 == 6 && story[0].1 < 60, "{story:?}");
}

#[test]
fn an_attackers_flood_stays_in_his_story() {
    let mut site = watched();
    site.tell("story", NOW, "scan", &["host:h3", "ip:203.0.113.9"]);
    for step in 0..600 {
        site.tell("story", NOW + 60 + step, "password refused", &["host:h3", "ip:203.0.113.9"]);
    }
    assert_eq!(site.of("story"), [(601, 0)]);
}

#[test]
fn the_account_that_was_signed_in_to_is_not_one_of_many() {
    let mut site = watched();
    for user in [5, 6] {
        // Things happened there now and then, which leaves less to say for what two alerts share.
        site.tell("-", NOW - 20 * 3600, "once", &[&format!("user:u{user}")]);
    }
    for step in 0..25 {
        site.tell("story", NOW + step * 5, "sign-in failed", &[&format!("user:u{step}"), "ip:203.0.113.9"]);
    }
    site.tell("story", NOW + 320, "new device", &["user:u5", "ip:203.0.113.9"]);
    site.tell("story", NOW + 320 + 1_300, "inbox rule", &["user:u5"]);
    site.tell("-", NOW + 320 + 1_300, "inbox rule", &["user:u6"]);
    assert_eq!(site.of("story"), [(27, 0)]);
}

#[test]
fn the_first_of_a_wave_joins_no_other_story() {
    let mut site = watched();
    let wave = |site: &mut Site, of: &str, at, sender: &str| {
        for step in 0..40 {
            let user = format!("user:u{}", 3 + step);
            site.tell(of, at + step * 30, "junk", &[&user, &format!("domain:{sender}.example")]);
        }
    };
    wave(&mut site, "-", NOW - 20 * 3600, "before");
    for user in [1, 2, 3] {
        site.tell("story", NOW + user * 60, "bad sign-in", &[&format!("user:u{user}"), "ip:203.0.113.9"]);
    }
    wave(&mut site, "wave", NOW + 900, "after");
    assert_eq!(site.of("story"), [(3, 0)]);
    assert_eq!(site.of("wave"), [(40, 0)]);
}

#[test]
fn a_finding_leaves_what_common_pairs_do_where_it_is() {
    let mut site = watched();
    site.tell("story", NOW, "bad sign-in", &["user:u70", "ip:203.0.113.9"]);
    site.tell("common", NOW + 1, "usual 1", &["host:h3", "user:u3"]);
    site.tell("common", NOW + 2, "usual 1", &["host:h4", "user:u4"]);
    let [story, .., common, other] =
        site.homes.iter().rev().take(3).rev().map(|it| it.0).collect::<Vec<_>>()[..]
    else {
        panic!("three alerts were told");
    };
    let mut found = |homes: &[Number]| {
        let finding = Finding {
            tick: NOW + 3,
            tenant: Sym::EMPTY,
            correlation: site.names.intern("many"),
            group: Sym::EMPTY,
            time: (NOW + 3) * 1000,
            alert_ids: Vec::new(),
        };
        let verdict = site.links.finding(&finding, homes.iter().copied()).expect("they are open");
        (verdict.home, verdict.absorbed.to_vec())
    };
    assert_eq!(found(&[common, story, other]), (story, vec![]));
    // Where nothing else is of it, it is about these.
    let (first, second) = (common.min(other), common.max(other));
    assert_eq!(found(&[common, other]), (first, vec![second]));
}

/// How many alerts each incident has that holds any of the second and third day, of a pair that comes every so many seconds
/// in the hours of the day before `until`.
fn sessions(every_s: usize, until: i64) -> Vec<usize> {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        let begin = START + hour * 3600;
        site.usual(begin, 10);
        for tick in (begin..begin + 3600).step_by(every_s).filter(|_| hour % 24 < until) {
            site.tell(if hour < 24 { "known" } else { "beacon" }, tick, "beacon", &["host:h3"]);
        }
    }
    site.of("beacon").into_iter().map(|(own, known)| own + known).collect()
}

#[test]
fn what_never_stops_is_one_and_what_rests_is_one_of_each_day() {
    // In its first hours it was new.
    let always = sessions(60, 24);
    assert!(always.len() == 1 && always[0] > 66 * 60, "{always:?}");
    let days = sessions(60, 14);
    assert!(days.len() == 3 && days.iter().all(|many| *many <= 14 * 60 + 1), "{days:?}");
}

#[test]
fn a_session_does_not_grow_without_end() {
    let most = usize::try_from(LinkSettings::default().background_steady_alerts).expect("it is small");
    let many = sessions(20, 24);
    assert!(many.len() == 2 && many[0] == most && many[1] < most, "{many:?}");
    // More than that in a day are a day's.
    let many = sessions(10, 24);
    assert!(many.len() == 3 && many.iter().all(|many| *many <= 24 * 360 + 1), "{many:?}");
}
