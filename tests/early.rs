//! `act: early`: a live run decides when an epoch ends, what it did is a function of its log, and files know no early.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, NDJSON, post, taken, until};
use common::world::{calling, world};
use common::{
    acting_plan, agrees, conserved, count, digest, digest_log as whole, done, early, edges, held, quell,
    replay, site, summary,
};
use quell::archive::{Only, Reader};
use quell::record::{ActionStatus, AlertId, IncidentId, IncidentState, Names};
use tempfile::TempDir;

/// A plan that acts early, on the days that lie in `days`.
fn plan(folder: &Path, days: &Path, sources: &[&str]) -> PathBuf {
    let flow = acting_plan(folder, days, sources);
    early(&flow);
    flow
}

/// The same in a folder of its own, pushed to.
fn pushed(folder: &TempDir) -> PathBuf {
    let days = folder.path().join("days");
    site(&days, 100, 5);
    let flow = plan(&folder.path().join("plan"), &days, &[]);
    let source = "sources:\n  - {name: edge, type: http, listen: '127.0.0.1:0', clock: event, tenant_from_field: true}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan").replace("sources:\n", source);
    std::fs::write(&flow, text).expect("room for the plan");
    flow
}

/// Pushes lines, which are taken.
fn send(live: &Live, lines: &str) {
    assert_eq!(post(&live.address("edge"), "/push/edge", &[NDJSON], lines).0, 200);
}

fn open(archive: &Path) -> Reader {
    Reader::open(archive, Arc::new(Names::default())).expect("an archive")
}

/// An alert by hand.
fn alert(id: &str, second: u32, host: &str, more: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"tenant\":\"default\",\"time\":\"2026-01-06T12:{:02}:{:02}Z\",\"product\":\"edr\",\
         \"rule_id\":\"R\",\"rule_name\":\"Rule\",\"severity\":\"critical\",\"technique\":\"T1486\",\
         \"host\":\"{host}\"{more}}}\n",
        second / 60,
        second % 60
    )
}

#[test]
fn an_alert_alone_is_decided_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed(&folder);
    let (address, world) = world();
    calling(&flow, address);
    let cried = at("cried").display().to_string();
    let live = Live::start(&flow, &at("live"), &["--decisions", &cried]);
    let (status, _) = post(&live.address("edge"), "/push/edge", &[NDJSON], &alert("a", 0, "h1", ""));
    assert_eq!(status, 200);
    // Nothing else comes, and no clock goes on: an hour's lateness is waited for by nobody.
    until("an order is given", || (!world.lock().expect("no panic").is_empty()).then_some(()));
    // Whoever listens heard of it before.
    let told = std::fs::read_to_string(&cried).expect("it is told");
    let said: serde_json::Value = serde_json::from_str(told.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&said["ruling"], &said["time"]),
        (&"execute".into(), &"2026-01-06T12:00:00Z".into()),
        "{said}"
    );
    assert!(said["targets"].as_array().is_some_and(|all| all.contains(&"host:h1".into())), "{said}");
    let decided = until("a decision is told", || {
        let lines = open(&at("live")).decisions(None).ok()?.map(|line| line.expect("a decision"));
        lines.into_iter().next()
    });
    assert_eq!(open(&at("live")).alerts(None).expect("alerts").count(), 0, "it is not settled");
    // The same again is nothing new, and neither is a copy that turns out to come first.
    let before = world.lock().expect("no panic").len();
    for copy in [alert("a", 0, "h1", ""), alert("a", 30, "h1", "")] {
        post(&live.address("edge"), "/push/edge", &[NDJSON], &copy);
    }
    taken(&at("live"), 3);
    let summary = live.stop();
    agrees(&summary, &at("live"));
    assert_eq!((count(&summary, "alerts"), count(&summary, "duplicates")), (1, 2), "{summary}");
    assert_eq!(count(&summary, "incidents"), 1, "{summary}");
    assert_eq!(world.lock().expect("no panic").len(), before);
    assert_eq!(decided.tick, 1_767_700_800, "as of the alert's own second");
    says_the_same(&flow, &at("live"), &folder.path().join("again"));
}

/// The log of what acted early says the same again, at any number of workers.
fn says_the_same(flow: &Path, archive: &Path, to: &Path) {
    let expected = whole(archive);
    for workers in ["1", "2", "3"] {
        let to = to.with_extension(workers);
        agrees(&summary(&mut replay(flow, &[archive], &to, &["--workers", workers])), &to);
        assert_eq!(whole(&to), expected, "{workers} workers");
    }
}

#[test]
fn a_copy_that_comes_first_takes_no_other_decision() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed(&folder);
    let live = Live::start(&flow, &at("live"), &[]);
    let push = |text: &str| send(&live, text);
    push(&alert("a", 600, "h1", ""));
    taken(&at("live"), 1);
    let told = |table: &str| std::fs::read_dir(at("live").join(table)).map_or(0, Iterator::count);
    until("a decision is told", || (told("decisions") > 0).then_some(()));
    push(&alert("a", 60, "h1", ""));
    push(&alert("b", 900, "h2", ""));
    taken(&at("live"), 3);
    let summary = live.stop();
    agrees(&summary, &at("live"));
    assert_eq!((count(&summary, "alerts"), count(&summary, "duplicates")), (2, 1), "{summary}");
    let alerts: Vec<i64> =
        open(&at("live")).alerts(None).expect("alerts").map(|line| line.expect("an alert").tick).collect();
    assert!(alerts.contains(&1_767_700_860), "settled, the first in order is the alert: {alerts:?}");
    says_the_same(&flow, &at("live"), &at("again"));
}

#[test]
fn a_late_alert_joins_two_incidents() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed(&folder);
    let live = Live::start(&flow, &at("live"), &[]);
    let push = |text: &str| send(&live, text);
    let by = |user: &str, ip: &str| format!(",\"user\":\"{user}\",\"src_ip\":\"{ip}\"");
    // The site has been watched for some days: what it has not seen surprises.
    push(&alert("w", 0, "h9", "").replace("2026-01-06", "2026-01-02"));
    push(&alert("a", 0, "h1", &by("u1", "203.0.113.1")));
    push(&alert("b", 300, "h2", &by("u2", "198.51.100.2")));
    taken(&at("live"), 3);
    let incidents = || {
        let mut last = BTreeMap::new();
        for line in open(&at("live")).incidents(None).expect("incidents").map(|line| line.expect("one")) {
            let now = last.entry(line.incident_id).or_insert((0, line.state));
            if line.version > now.0 {
                *now = (line.version, line.state);
            }
        }
        last
    };
    let apart = incidents();
    // It happened before the second one, and names what both name.
    push(&alert("c", 150, "h1", &by("u2", "198.51.100.2")));
    taken(&at("live"), 4);
    let summary = live.stop();
    agrees(&summary, &at("live"));
    assert_eq!(apart.len(), 3, "{apart:?}");
    let merged = incidents().into_values().filter(|(_, state)| *state == IncidentState::Merged).count();
    assert_eq!(merged, 1, "{:?}", incidents());
    says_the_same(&flow, &at("live"), &at("again"));
}

/// A rule that finds two alerts of one product, and no more.
fn twice(flow: &Path) {
    let rule = "title: twice\ncorrelation: {type: event_count, rules: [RA, RB, RC], group-by: [product], timespan: 5m, condition: {eq: 2}}\n";
    std::fs::write(flow.with_file_name("correlations/twice.yml"), rule).expect("room for the plan");
}

/// An alert of a rule of its own, of a host and a user that nobody else names.
fn stranger(letter: char, second: u32) -> String {
    let [id, host] = [format!("{letter}"), format!("h-{letter}")];
    let rule = letter.to_ascii_uppercase();
    let text = alert(&id, second, &host, &format!(",\"user\":\"u-{letter}\""));
    text.replace("\"R\"", &format!("\"R{rule}\"")).replace("\"Rule\"", &format!("\"Rule {rule}\""))
}

/// The incident of a stranger, once it is in one.
fn home_of(archive: &Path, letter: char) -> Option<IncidentId> {
    let id = AlertId::of(&[b"default", b"edr", letter.to_string().as_bytes()]);
    let mut sums = BTreeMap::new();
    for line in
        open(archive).members(Some(Only::alerts([id]))).expect("members").map(|line| line.expect("one"))
    {
        *sums.entry(line.incident_id).or_insert(0) += line.diff;
    }
    sums.retain(|_, sum| *sum > 0);
    assert!(sums.len() < 2, "{letter} is in {sums:?}");
    sums.into_keys().next()
}

/// Which strangers are together.
fn together(archive: &Path, letters: &str) -> Vec<String> {
    let mut homes: BTreeMap<_, String> = BTreeMap::new();
    for letter in letters.chars() {
        if let Some(home) = home_of(archive, letter) {
            homes.entry(home).or_default().push(letter);
        }
    }
    let mut homes: Vec<String> = homes.into_values().collect();
    homes.sort_unstable();
    homes
}

#[test]
fn what_a_finding_joined_parts_when_it_is_undone() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed(&folder);
    twice(&flow);
    let live = Live::start(&flow, &at("live"), &[]);
    send(&live, &stranger('a', 0));
    send(&live, &stranger('c', 60));
    until("it is found", || (together(&at("live"), "ac") == ["ac"]).then_some(()));
    // It happened between the two: it is the second, and what was found of the third never was.
    send(&live, &stranger('b', 30));
    until("it is undone", || (together(&at("live"), "abc") == ["ab", "c"]).then_some(()));
    live.kill();
    let live = Live::start(&flow, &at("live"), &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let summary = live.stop();
    agrees(&summary, &at("live"));
    assert_eq!(together(&at("live"), "abc"), ["ab", "c"]);
    let mut links = BTreeMap::new();
    for line in open(&at("live")).links(None).expect("links").map(|line| line.expect("a link")) {
        *links.entry((line.alert_id, line.other_alert_id)).or_insert(0) += line.diff;
    }
    assert_eq!(links.values().filter(|sum| **sum == 1).count(), 1, "{links:?}");
    assert!(links.values().all(|sum| (0..2).contains(sum)), "{links:?}");
    let alone = home_of(&at("live"), 'c').expect("it is in one").to_string();
    let told = done(quell().args(["explain", &alone, "--archive"]).arg(at("live")));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("what \"twice\" had found was withdrawn"), "{told}");
    says_the_same(&flow, &at("live"), &at("again"));
    // Files in their own order say so from the first, with another name for what was never joined.
    let input = at("abc.jsonl");
    std::fs::write(&input, [('a', 0), ('b', 30), ('c', 60)].map(|(it, at)| stranger(it, at)).concat())
        .expect("room");
    conserved(&common::summary(&mut replay(&flow, &[&input], &at("files"), &[])));
    assert_eq!(together(&at("files"), "abc"), ["ab", "c"]);
}

/// A run that is stopped with an undone finding that nobody has heard of yet: it hears of it before its sources end.
#[test]
fn what_came_last_undoes_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 100, 5);
    let flow = plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    twice(&flow);
    let input = at("plan").join("edges.jsonl");
    std::fs::write(&input, stranger('a', 0) + &stranger('c', 60)).expect("room");
    let live = Live::start(&flow, &at("live"), &[]);
    taken(&at("live"), 2);
    assert_eq!(together(&at("live"), "ac"), ["ac"]);
    let mut file = std::fs::File::options().append(true).open(&input).expect("it");
    file.write_all(stranger('b', 30).as_bytes()).expect("room");
    taken(&at("live"), 3);
    agrees(&live.stop(), &at("live"));
    assert_eq!(together(&at("live"), "abc"), ["ab", "c"]);
    says_the_same(&flow, &at("live"), &at("again"));
}

#[test]
fn what_is_not_settled_is_taken_apart_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = pushed(&folder);
    let live = Live::start(&flow, &at("live"), &[]);
    let push = |text: &str| send(&live, text);
    push(&alert("w", 0, "h9", "").replace("2026-01-06", "2026-01-02"));
    for (id, second) in [("a", 0), ("b", 20), ("c", 40)] {
        push(&alert(id, second, "h1", ",\"user\":\"u1\""));
    }
    taken(&at("live"), 4);
    let counts = || {
        let mut counts = BTreeMap::new();
        for line in open(&at("live")).members(None).expect("members").map(|line| line.expect("a member")) {
            *counts.entry(line.incident_id).or_insert(0) += line.diff;
        }
        counts
    };
    let (incident, _) = counts().into_iter().find(|(_, alerts)| *alerts == 3).expect("one of three");
    let members = open(&at("live")).members(None).expect("members").map(|line| line.expect("a member"));
    let own: Vec<_> = members.filter(|it| it.incident_id == incident).map(|it| it.alert_id).collect();
    assert_eq!(
        open(&at("live"))
            .alerts(None)
            .expect("alerts")
            .filter(|it| it.as_ref().is_ok_and(|it| own.contains(&it.alert_id)))
            .count(),
        0
    );
    let said = done(
        quell()
            .args(["unlink", &incident.to_string(), "--by", "ada", "--alert", &own[1].to_string()])
            .arg("--archive")
            .arg(at("live")),
    );
    assert!(String::from_utf8_lossy(&said.stdout).contains("is going on"), "{said:?}");
    until("it is taken apart", || counts().get(&incident).is_some_and(|alerts| *alerts == 2).then_some(()));
    // What goes on joins the part that it is of, with what was not written when it was cut.
    push(&alert("d", 60, "h1", ",\"user\":\"u1\""));
    taken(&at("live"), 5);
    live.kill();
    let live = Live::start(&flow, &at("live"), &[]);
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    let summary = live.stop();
    agrees(&summary, &at("live"));
    let mut sizes: Vec<i64> = counts().into_values().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 3], "{:?}", counts());
    says_the_same(&flow, &at("live"), &at("again"));
}

#[test]
fn kills_cost_nothing_and_nothing_is_called_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 300, 5);
    let flow = plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    let (address, world) = world();
    calling(&flow, address);
    let (archive, input, all) = (at("live"), at("plan").join("edges.jsonl"), edges(600));
    std::fs::write(&input, "").expect("room");
    let given = || world.lock().expect("no panic").len();
    let mut live = Live::start(&flow, &archive, &["--batch", "7"]);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    for (n, piece) in lines.chunks(150).enumerate() {
        let before = given();
        let mut file = std::fs::File::options().append(true).open(&input).expect("it");
        file.write_all(piece.concat().as_bytes()).expect("room");
        until("something is ordered", || (given() > before + 3).then_some(()));
        live.kill();
        let workers = ["1", "2", "3", "2"][n];
        live = Live::start(&flow, &archive, &["--batch", "11", "--workers", workers]);
    }
    until("it goes on", || live.told().contains("Ctrl-C").then_some(()));
    taken(&archive, 600);
    let summary = live.stop();
    agrees(&summary, &archive);
    let calls = || world.lock().expect("no panic").values().sum::<u32>();
    let before = calls();
    says_the_same(&flow, &archive, &at("again"));
    assert_eq!(calls(), before, "a replay calls nobody");
    let mut called = BTreeSet::new();
    for line in open(&archive).actions(None).expect("actions").map(|line| line.expect("an action")) {
        assert_ne!(line.status, ActionStatus::InDoubt, "{}", line.action_id);
        if line.status == ActionStatus::Succeeded && line.attempts > 0 {
            assert!(called.insert(line.action_id.to_string()), "{} twice", line.action_id);
        }
    }
    assert!(called.len() > 50, "{summary}");
    // What was in flight at a kill is asked for again, with the same key; all else once, and all that was done is told.
    let world = world.lock().expect("no panic").clone();
    let again = world.values().filter(|times| **times > 1).count();
    // Four kills, and a webhook has 16 calls under way at most.
    assert!(again <= 4 * 16, "{again} of {} were asked for again", world.len());
    assert!(called.iter().all(|id| world.contains_key(id)), "told, and never done");
    let told = open(&archive).actions(None).expect("actions").count();
    assert!(world.len() <= told, "done, and never told: {} of {told}", world.len());
}

#[test]
fn generated_days_are_decided_early_as_their_log_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 1_500, 7);
    let flow = plan(&at("plan"), &at("days"), &["alerts.jsonl"]);
    let input = at("plan").join("alerts.jsonl");
    std::fs::copy(at("days").join("alerts.jsonl"), &input).expect("room");
    let records = std::fs::read_to_string(&input).expect("it").lines().count() as u64;
    let live = Live::start(&flow, &at("live"), &["--batch", "40"]);
    taken(&at("live"), records);
    let told = live.stop();
    agrees(&told, &at("live"));
    assert!(count(&told, "actions") > 0, "{told}");
    says_the_same(&flow, &at("live"), &at("again"));
    // As a log of its own, the replay says so too.
    agrees(&summary(&mut replay(&flow, &[&at("again.2")], &at("and again"), &[])), &at("and again"));
    assert_eq!(whole(&at("and again")), whole(&at("live")));
    // Who acts on settled ticks sees the same alerts in their order.
    let files = summary(&mut replay(&flow, &[&input], &at("files"), &["--arrival"]));
    conserved(&files);
    for table in ["alerts", "duplicates", "rejects", "matches"] {
        assert_eq!(digest(&at("files"))[table], digest(&at("live"))[table], "{table}");
    }
    assert!(held(&at("files")).standing > 0);
}

#[test]
fn files_are_decided_on_settled_ticks_whatever_the_policy_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 800, 3);
    let flow = acting_plan(&at("plan"), &at("days"), &["alerts.jsonl"]);
    let input = at("days").join("alerts.jsonl");
    let settled = summary(&mut replay(&flow, &[&input], &at("settled"), &["--arrival"]));
    let policy = at("plan").join("policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("act: settled", "act: early")).expect("room");
    let early = summary(&mut replay(&flow, &[&input], &at("early"), &["--arrival", "--batch", "50"]));
    assert!(count(&early, "actions") > 0, "{early}");
    for key in ["alerts", "incidents", "actions", "outcomes", "decisions"] {
        assert_eq!(early[key], settled[key], "{key}");
    }
    // Decisions name the plan that they were made by, which is another.
    let (mut one, mut other) = (digest(&at("settled")), digest(&at("early")));
    assert_ne!(one.remove("decisions"), other.remove("decisions"));
    assert_eq!(one, other);
}
