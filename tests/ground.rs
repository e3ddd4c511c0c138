//! Withdrawn ground: what was executed is undone, carried or left as the policy says, once, whatever crashes; and what was
//! denied or asked follows the parts of an incident, and its indicators.

mod common;
mod grounds;

use std::path::{Path, PathBuf};

use common::live::{Live, heard, taken, until};
use common::{count, digest, held, quell};
use grounds::*;
use quell::record::{ActionStatus, Ruling};

/// The scanner's probe of web-1 comes first; a spray from elsewhere makes an attack of it, and both addresses are blocked.
fn probed() -> String {
    let probe =
        Line { host: "web-1", rule: "probe", ip: "203.0.113.9", severity: "medium", ..Line::default() };
    let spray = Line { host: "web-1", ip: "203.0.113.5", ..Line::default() };
    let spray = |rule, at| spray.with(rule, at);
    [probe.at(0), spray("spray", 60).text(), spray("guess", 120).text(), noise(900)].concat()
}

fn after() -> String {
    let more = Line { host: "web-1", ip: "203.0.113.5", ..Line::default() };
    [more.with("spray", 960).text(), noise(2_000), noise(2_100)].concat()
}

const BLOCKED: [&str; 2] = ["deny ip:203.0.113.5", "deny ip:203.0.113.9"];

/// A live run in which the probe is said not to belong; killed while the undo is called for, if so told.
fn unprobed(world: &World, name: &str, more: &[&str], killed: bool) -> PathBuf {
    let archive = world.path(name);
    world.write(&(noise_before() + &probed()));
    let mut live = Live::start(&world.flow, &archive, more);
    taken(&archive, 34);
    assert_eq!(world.site.orders("deny"), BLOCKED, "{}", live.told());
    let id = home(&archive, "web-1 probe 0");
    world.unlink(&archive, id, &["--alert", &alert_id(&archive, "probe").to_string()]);
    heard(&archive, "verdict");
    if killed {
        world.site.hang_on_undo();
        world.append(&after());
        until("the undo is called for", || (world.site.undos() == 1).then_some(()));
        live.kill();
        live = Live::start(&world.flow, &archive, more);
    } else {
        world.append(&after());
    }
    taken(&archive, 37);
    until("it is undone", || (!undone(&archive).is_empty()).then_some(()));
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
    archive
}

#[test]
fn an_alert_that_is_not_related_has_its_block_lifted_once() {
    let world = World::acting("execute");
    let archive = unprobed(&world, "live", &[], false);
    assert_eq!(world.site.orders("allow"), ["allow ip:203.0.113.9"]);
    assert_eq!(world.site.orders("deny"), BLOCKED);
    let id = home(&archive, "web-1 spray 60");
    let rows = actions(&archive);
    let undo = rows.iter().find(|line| line.undo_of.is_some()).expect("an undo");
    let of = rows.iter().find(|line| Some(line.action_id) == undo.undo_of).expect("what it undoes");
    assert_eq!((of.target.as_str(), of.incident_id), ("ip:203.0.113.9", id));
    assert_eq!(undo.reason.as_deref(), Some("the incident was taken apart"));
    assert!(undone(&archive).iter().all(|line| line.action_id == of.action_id));
    let ruled = decisions(&archive).into_iter().find(|line| line.decision_id == undo.decision_id);
    let ruled = ruled.expect("a ruling");
    assert_eq!((ruled.ruling, ruled.undoes), (Ruling::Execute, Some(of.decision_id)));
    let told = world.explain(&archive, &id.to_string());
    assert_eq!(told.matches("stands on withdrawn ground").count(), 1, "{told}");
    assert!(told.contains(&format!("undoes {}", of.action_id)), "{told}");
    let told = world.explain(&archive, &of.action_id.to_string());
    assert!(told.contains(&format!("action {} undoes it", undo.action_id)), "{told}");
    world.says_the_same(&archive, "again");
    let (first, calls) = (digest(&archive), world.site.calls());
    // It goes on from its log, and nothing is done again.
    let live = Live::start(&world.flow, &archive, &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    assert_eq!(count(&live.stop(), "divergences"), 0);
    assert_eq!(world.site.calls(), calls);
    world.site.forget();
    assert_eq!(digest(&unprobed(&world, "three", &["--workers", "3"], false)), first);
    // Killed between the undo's intent and its outcome: it is asked for again with the same key, and told once.
    world.site.forget();
    let archive = unprobed(&world, "killed", &[], true);
    assert_eq!(world.site.orders("allow"), ["allow ip:203.0.113.9"; 2]);
    assert_eq!(world.site.keys("allow").len(), 1);
    // What differs is when the answer was heard.
    let now = digest(&archive);
    for table in ["incidents", "members", "links", "candidates", "decisions"] {
        assert_eq!(now[table], first[table], "{table}");
    }
    let lives = |archive: &Path| {
        let rows =
            actions(archive).into_iter().map(|row| (row.action_id, row.seq, row.status.name(), row.undo_of));
        rows.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(lives(&archive), lives(&world.path("live")));
    world.says_the_same(&archive, "and again");
}

#[test]
fn people_decide_by_default_and_never_is_told() {
    let world = World::acting("ask");
    let archive = world.path("over");
    world.write(&(noise_before() + &probed() + &after()));
    let id = world.replayed(&archive, "web-1 probe 0");
    world.unlink(&archive, id, &["--alert", &alert_id(&archive, "probe").to_string()]);
    let asked = decisions(&archive).into_iter().find(|line| line.undoes.is_some()).expect("a question");
    assert_eq!(asked.ruling, Ruling::Escalate);
    assert!(asked.reason_detail.expect("why").contains("ip:203.0.113.9; a person decides"));
    assert!(undone(&archive).is_empty());
    let told = world.explain(&archive, &id.to_string());
    assert_eq!(told.matches("stands on withdrawn ground").count(), 1, "{told}");
    world.approve(&archive, asked.decision_id, true);
    let lifted: Vec<_> = undone(&archive).into_iter().map(|line| line.target).collect();
    assert_eq!(lifted, ["ip:203.0.113.9"]);
    held(&archive);
    world.says_the_same(&archive, "again");

    let world = World::acting("never");
    let archive = world.path("over");
    world.write(&(noise_before() + &probed() + &after()));
    let id = world.replayed(&archive, "web-1 probe 0");
    world.unlink(&archive, id, &["--alert", &alert_id(&archive, "probe").to_string()]);
    let told = decisions(&archive).into_iter().find(|line| line.undoes.is_some()).expect("a word");
    assert_eq!(told.ruling, Ruling::Decline);
    assert!(told.reason_detail.expect("why").contains("the policy undoes nothing"));
    assert!(undone(&archive).is_empty());
    world.says_the_same(&archive, "again");
}

/// Both hosts' alerts are joined by mallory, and blocked when the last is high.
fn joined() -> String {
    let web = Line { host: "web-1", ip: "203.0.113.5", severity: "medium", ..Line::default() };
    let db = Line { host: "db-2", ip: "198.51.100.7", severity: "medium", ..Line::default() };
    [
        web.with("scan", 0).text(),
        web.with("shell", 60).text(),
        web.with("root", 120).text(),
        Line { user: "mallory", ..web.with("login", 180) }.text(),
        Line { user: "mallory", ..db.with("dump", 240) }.text(),
        Line { severity: "high", ..db.with("copy", 300) }.text(),
        noise(900),
    ]
    .concat()
}

#[test]
fn parts_carry_what_was_executed_and_what_was_denied() {
    let world = World::acting("execute");
    let archive = world.path("over");
    world.write(&(noise_before() + &joined()));
    let id = world.replayed(&archive, "db-2 copy 300");
    let executed = decisions(&archive).into_iter().find(|it| it.ruling == Ruling::Execute).expect("a block");
    let before = actions(&archive);
    assert_eq!(before.iter().filter(|line| line.status == ActionStatus::Succeeded).count(), 3, "{before:?}");
    world.unlink(&archive, id, &["--entity", "user:mallory"]);
    let part = home(&archive, "db-2 copy 300");
    assert_ne!(part, id);
    let of_part: Vec<_> = decisions(&archive).into_iter().filter(|line| line.incident_id == part).collect();
    let carried = of_part.iter().filter_map(|line| line.reason_detail.clone()).collect::<Vec<_>>();
    assert_eq!(carried, [format!("carried: decision {} was executed for it before", executed.decision_id)]);
    assert_eq!(actions(&archive), before, "nothing is done again, and nothing undone");
    let told = world.explain(&archive, &id.to_string());
    assert!(told.contains(&format!("holds for {part} too")) && !told.contains("withdrawn"), "{told}");
    world.says_the_same(&archive, "again");

    let world = World::asking();
    let archive = world.path("over");
    world.write(&(noise_before() + &joined()));
    let id = world.replayed(&archive, "db-2 copy 300");
    let asked =
        decisions(&archive).into_iter().find(|line| line.ruling == Ruling::Escalate).expect("a question");
    world.approve(&archive, asked.decision_id, false);
    world.unlink(&archive, id, &["--entity", "user:mallory"]);
    let part = home(&archive, "db-2 copy 300");
    let of_part: Vec<_> = decisions(&archive).into_iter().filter(|line| line.incident_id == part).collect();
    let reasons: Vec<_> = of_part.iter().filter_map(|line| line.reason_detail.clone()).collect();
    assert_eq!(reasons, ["all_denied: a person denied every playbook that fits"]);
    world.says_the_same(&archive, "again");
}

/// Parted when mallory is listed; apart while that is so; joining when mallory links again.
fn listed(world: &World, name: &str, more: &[&str], killed: bool) -> PathBuf {
    let archive = world.path(name);
    world.site.forget();
    world.write(&(noise_before() + &joined()));
    let mut live = Live::start(&world.flow, &archive, more);
    taken(&archive, 37);
    let apart = || home(&archive, "web-1 scan 0") != home(&archive, "db-2 copy 300");
    assert!(!apart());
    world.never_link(&["user:mallory"]);
    until("it is taken apart", || apart().then_some(()));
    if killed {
        live.kill();
        live = Live::start(&world.flow, &archive, more);
        until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    }
    let web = Line { host: "web-1", ip: "203.0.113.5", user: "mallory", ..Line::default() };
    let db = Line { host: "db-2", ip: "198.51.100.7", user: "mallory", ..Line::default() };
    let mail = Line { host: "mail-3", user: "mallory", ..Line::default() };
    let more = [db.with("steal", 960), web.with("wipe", 1_000), mail.with("read", 1_020)];
    world.append(&(more.map(Line::text).concat() + &noise(1_100)));
    taken(&archive, 41);
    assert_eq!(home(&archive, "web-1 wipe 1000"), home(&archive, "web-1 scan 0"));
    assert_eq!(home(&archive, "db-2 steal 960"), home(&archive, "db-2 copy 300"));
    assert!(apart(), "mallory does not link");
    let parts = ["web-1 scan 0", "db-2 copy 300"].map(|alert| home(&archive, alert));
    assert!(!parts.contains(&home(&archive, "mail-3 read 1020")), "mallory does not link");
    let before = heard(&archive, "context");
    world.never_link(&[]);
    until("the list is taken", || (heard(&archive, "context") > before).then_some(()));
    // What comes by it from now on joins; two incidents that have grown apart need more than one account to be one again.
    let mail = Line { host: "mail-4", ..mail };
    world.append(&[db.with("sell", 1_200).text(), mail.with("send", 1_260).text(), noise(2_100)].concat());
    taken(&archive, 44);
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
    assert_eq!(home(&archive, "mail-4 send 1260"), home(&archive, "db-2 sell 1200"), "mallory links again");
    archive
}

#[test]
fn a_listed_entity_parts_what_only_it_joined_until_it_is_taken_off() {
    let world = World::acting("execute");
    let archive = listed(&world, "live", &[], false);
    assert_eq!(world.site.orders("deny"), ["deny ip:198.51.100.7", "deny ip:203.0.113.5"]);
    assert!(undone(&archive).is_empty(), "each part has its own ground");
    world.says_the_same(&archive, "again");
    let first = tables(&archive);
    assert_eq!(tables(&listed(&world, "three", &["--workers", "3", "--batch", "2"], false)), first);
    let killed = listed(&world, "killed", &[], true);
    assert_eq!(tables(&killed), first);
    world.says_the_same(&killed, "killed again");
    // What the log has of its tables is how they stand.
    let kept = listed(&world, "kept", &["--snapshot-every-ms", "1"], true);
    assert_eq!(tables(&kept), first);
    world.says_the_same(&kept, "kept again");
}

/// Two addresses, of which one alone may be blocked: the indicator.
fn two_addresses() -> String {
    let web = Line { host: "web-1", severity: "medium", ..Line::default() };
    let first = Line { ip: "203.0.113.5", ..web.with("scan", 0) };
    let second = Line { ip: "203.0.113.9", severity: "high", ..web.with("spray", 60) };
    [first.text(), second.text(), noise(900)].concat()
}

#[test]
fn an_indicator_withdrawn_takes_its_block_with_it() {
    let world = World::acting("execute").with_one_target();
    let run = |name: &str, more: &[&str]| {
        world.site.forget();
        let archive = world.path(name);
        world.indicators(&["ip:203.0.113.9"]);
        world.write(&(noise_before() + &two_addresses()));
        let live = Live::start(&world.flow, &archive, more);
        taken(&archive, 33);
        assert_eq!(world.site.orders("deny"), ["deny ip:203.0.113.9"], "{}", live.told());
        world.indicators(&[]);
        until("it is lifted", || (world.site.undos() == 1).then_some(()));
        world.append(&(noise(2_000) + &noise(2_100)));
        taken(&archive, 35);
        assert_eq!(count(&live.stop(), "divergences"), 0);
        held(&archive);
        archive
    };
    let archive = run("live", &[]);
    let actions = actions(&archive);
    let undo = actions.iter().find(|line| line.undo_of.is_some()).expect("an undo");
    assert_eq!(undo.reason.as_deref(), Some("it is no indicator any more"));
    let id = home(&archive, "web-1 spray 60");
    let told = world.explain(&archive, &id.to_string());
    assert!(told.contains("stands on withdrawn ground: it is no indicator any more"), "{told}");
    world.says_the_same(&archive, "again");
    let three = run("three", &["--workers", "3"]);
    assert_eq!(tables(&three), tables(&archive));
}

#[test]
fn what_people_are_asked_follows_the_indicators() {
    let world = World::asking().with_one_target();
    let archive = world.path("live");
    world.indicators(&[]);
    world.write(&(noise_before() + &two_addresses()));
    let live = Live::start(&world.flow, &archive, &[]);
    taken(&archive, 33);
    let asked =
        || standing(&archive).into_iter().filter(|it| it.ruling == Ruling::Escalate).collect::<Vec<_>>();
    let first = asked().remove(0);
    // An indicator added, then withdrawn: each time people are asked about another address.
    world.indicators(&["ip:203.0.113.9"]);
    let second =
        until("it is asked anew", || asked().into_iter().find(|line| line.decision_id != first.decision_id));
    assert_eq!((second.supersedes, second.tick), (Some(first.decision_id), first.tick), "the same version");
    world.indicators(&[]);
    let third = until("it is asked once more", || {
        asked().into_iter().find(|line| line.supersedes == Some(second.decision_id))
    });
    world.append(&(noise(2_000) + &noise(2_100)));
    taken(&archive, 35);
    assert_eq!(count(&live.stop(), "divergences"), 0);
    held(&archive);
    assert_eq!(asked().iter().map(|line| line.decision_id).collect::<Vec<_>>(), [third.decision_id]);
    world.says_the_same(&archive, "again");
}

#[test]
fn a_late_alert_that_joins_two_incidents_counts_as_if_it_had_come_in_time() {
    let web = Line { host: "web-1", ip: "203.0.113.5", ..Line::default() };
    let db = Line { host: "db-2", ip: "198.51.100.7", ..Line::default() };
    let bridge = Line { user: "mallory", ..web.with("login", 300) }.text();
    let first = [web.with("scan", 0).text(), web.with("shell", 60).text()].concat();
    let second = Line { user: "mallory", ..db.with("dump", 120) }.text() + &db.with("copy", 320).text();
    let in_time = [
        &first[..],
        &Line { user: "mallory", ..db.with("dump", 120) }.text(),
        &bridge,
        &db.with("copy", 320).text(),
    ];
    let late = [&first[..], &second, &bridge];
    for asks in [false, true] {
        let world = if asks { World::asking() } else { World::acting("execute") };
        let replayed = |name: &str, lines: &[&str]| {
            let archive = world.path(name);
            world.write(&(noise_before() + &lines.concat() + &noise(900)));
            world.replayed_as_it_came(&archive);
            held(&archive);
            assert_eq!(home(&archive, "web-1 scan 0"), home(&archive, "db-2 copy 320"));
            world.says_the_same(&archive, &format!("{name} again"));
            archive
        };
        let archive = &replayed("in time", &in_time);
        assert_eq!(tables(&replayed("late", &late)), tables(archive));
        let all = decisions(archive);
        if asks {
            let gone = all
                .iter()
                .filter(|line| line.reason_detail.as_ref().is_some_and(|it| it.starts_with("gone")));
            assert_eq!(
                (gone.count(), standing(archive).iter().filter(|it| it.ruling == Ruling::Escalate).count()),
                (1, 1)
            );
            continue;
        }
        // What was done for each stands; taken apart again, each part has its own.
        let before = actions(archive);
        assert_eq!(
            before.iter().filter(|it| it.verb.name() == "deny" && it.seq == 0).count(),
            2,
            "{before:?}"
        );
        let id = home(archive, "web-1 scan 0");
        world.unlink(archive, id, &["--entity", "user:mallory"]);
        assert_ne!(home(archive, "web-1 scan 0"), home(archive, "db-2 copy 320"));
        assert!(undone(archive).is_empty(), "{:?}", undone(archive));
        let said = decisions(archive).into_iter().filter_map(|line| line.reason_detail);
        assert_eq!(said.filter(|it| it.starts_with("carried")).count(), 1);
        world.says_the_same(archive, "and again");
    }
}

#[test]
fn the_policy_is_checked() {
    let world = World::acting("perhaps");
    let output = quell().args(["check", "--flow"]).arg(&world.flow).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3), "{}", common::said(&output));
}
