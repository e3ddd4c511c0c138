//! What comes where it never was: new neighbours of an address, accounts at hosts that they did not know. And what is only
//! near: floods at an account, and what happens now and then at an attacked host.

use super::{START, Site};

#[test]
fn neighbours_are_one_hand_beside_one_that_was_new_before() {
    let mut site = Site::new();
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
        // New and rare when it first came; it comes again and again.
        if hour >= 40 && hour % 2 == 0 {
            site.tell("-", START + hour * 3600 + 900, "usual 1", &["host:h7", "ip:198.51.100.30"]);
        }
    }
    for step in 0..40 {
        let (host, ip) = (format!("host:h{step}"), format!("ip:198.51.100.{}", 16 + step % 4));
        site.tell("spray", START + 72 * 3600 + step * 30, "usual 1", &[&host, &ip]);
    }
    assert_eq!(site.of("spray"), [(40, 0)]);
}

#[test]
fn who_comes_where_he_never_was_belongs_to_his_story() {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
    }
    // A stranger takes an account, and goes from host to host by rules that are raised there every hour.
    let at = START + 72 * 3600;
    site.tell("story", at, "bad sign-in", &["user:u3", "ip:203.0.113.9"]);
    for step in 1..12 {
        let host = format!("host:h{}", 20 + step);
        site.tell("story", at + step * 300, "usual 1", &[&host, "user:u3"]);
        // Those who are always there are none of it.
        let user = format!("user:u{}", 20 + step);
        site.tell("-", at + step * 300 + 30, "usual 2", &[&host, &user]);
    }
    assert_eq!(site.of("story"), [(12, 0)]);
}

#[test]
fn an_encounter_says_nothing_where_all_meet_all() {
    let mut site = Site::new();
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
        for host in 0..60 {
            let (host, user) = (format!("host:h{host}"), format!("user:u{}", (host * 7 + hour * 13) % 60));
            site.tell("-", START + hour * 3600 + 2_000, "usual 1", &[&host, &user]);
        }
    }
    let at = START + 72 * 3600;
    site.tell("story", at, "bad sign-in", &["user:u3", "ip:203.0.113.9"]);
    for step in 1..6 {
        site.tell("-", at + step * 60, "usual 1", &[&format!("host:h{}", 20 + step), "user:u3"]);
    }
    assert_eq!(site.of("story"), [(1, 0)]);
}

#[test]
fn a_flood_at_an_account_takes_in_no_attack() {
    let mut site = Site { connects: true, ..Site::new() };
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
    }
    let at = START + 72 * 3600;
    for step in 0..1_600 {
        site.tell("flood", at + step, "password refused", &["user:u3"]);
        if step >= 800 && step % 80 == 0 {
            let host = format!("host:h{}", step / 80);
            site.tell("attack", at + step, "tool run", &[&host, "user:u3", "hash:0badc0de"]);
        }
    }
    assert_eq!((site.of("flood"), site.of("attack")), (vec![(1_600, 0)], vec![(10, 0)]));
}

#[test]
fn what_is_half_common_joins_a_strong_incident_by_more_than_its_host() {
    // At once, and twenty minutes later.
    for (after, joins) in [(60, true), (1_200, false)] {
        let mut site = Site { connects: true, ..Site::new() };
        for hour in 0..72 {
            site.usual(START + hour * 3600, 60);
            if hour % 10 == 0 {
                site.tell("-", START + hour * 3600 + 900, "now and then", &["host:h3", "user:u3"]);
            }
        }
        let at = START + 72 * 3600 + 1_800;
        for step in 0..8 {
            let rule = format!("tool {step}");
            site.tell("attack", at + step * 30, &rule, &["host:h3", "hash:0badc0de"]);
        }
        site.tell("-", at + 210 + after, "now and then", &["host:h3", "user:u3"]);
        assert_eq!(site.of("attack"), [(8, usize::from(joins))], "{after}");
    }
}

#[test]
fn whom_a_stranger_tried_does_not_follow_him() {
    let mut site = Site::new();
    for hour in 0..72 {
        site.usual(START + hour * 3600, 60);
        if hour == 20 || hour == 40 {
            site.tell("-", START + hour * 3600 + 900, "sign-in failed", &["user:u20", "ip:10.0.0.20"]);
        }
    }
    // Passwords are tried on many; then one of these mistypes their own from where they sit, again and again.
    let at = START + 72 * 3600;
    for step in 0..30 {
        let user = format!("user:u{step}");
        site.tell("spray", at + step * 20, "sign-in failed", &[&user, "ip:203.0.113.9"]);
    }
    for step in 0..200 {
        site.tell("own", at + 1_200 + step * 5, "sign-in failed", &["user:u20", "ip:10.0.0.20"]);
    }
    assert_eq!(site.of("spray"), [(30, 0)]);
}

#[test]
fn what_a_new_host_does_all_day_is_no_story() {
    let mut site = Site::new();
    for hour in 0..96 {
        site.usual(START + hour * 3600, 60);
        for step in (0..20).filter(|_| hour >= 72) {
            let rule = format!("usual {}", step % 4);
            site.tell("new", START + hour * 3600 + step * 180, &rule, &["host:new", "ip:10.9.9.9"]);
        }
    }
    // In its first hours all of it is new; a pair's background session has five alerts an hour.
    let new = site.of("new");
    assert!(new.iter().all(|(own, others)| *own <= 120 && *others == 0), "{new:?}");
}
