//! Plans: a live archive goes on by another plan, where all that the one before took is settled and kept.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::days::RULES;
use common::live::{Live, heard, taken};
use common::{acting_plan, agrees, digest, done, edit, quell, site};
use quell::archive::Reader;
use quell::record::{Names, Ruling};

/// A source that grows, and a plan that reads it.
struct Plans {
    folder: tempfile::TempDir,
    flow: PathBuf,
    given: u64,
}

impl Plans {
    fn new() -> Plans {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        site(&at("days"), 200, 3);
        let flow = acting_plan(&at("plan"), &at("days"), &["a.jsonl"]);
        std::fs::write(flow.with_file_name("correlations").join("of-days.yml"), RULES).expect("room");
        for source in ["a.jsonl", "b.jsonl"] {
            std::fs::write(at("plan").join(source), "").expect("room");
        }
        Plans { flow, given: 0, folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn live(&self) -> PathBuf {
        self.at("live")
    }

    fn start(&self, more: &[&str]) -> Live {
        let live = Live::start(&self.flow, &self.live(), &[&["--batch", "30"], more].concat());
        live.goes_on();
        live
    }

    /// Alerts 20 s apart come, and are taken.
    fn grow(&mut self, source: &str, records: std::ops::Range<u64>) {
        self.given += records.end - records.start;
        let mut lines = String::new();
        for n in records {
            let severity = ["low", "high", "critical"][(n % 3) as usize];
            let time = jiff::Timestamp::from_second(1_767_700_000 + n.cast_signed() * 20).expect("a time");
            let line = serde_json::json!({
                "id": format!("{source}-{n}"),
                "time": time.to_string(),
                "product": "edr",
                "rule_id": format!("R{}", [1, 3, 4, 9, 10][(n % 5) as usize]),
                "rule_name": "a rule",
                "severity": severity,
                "technique": "T1110",
                "host": format!("h{}", n / 7 % 6),
                "user": format!("u{}", n % 4),
                "src_ip": format!("198.51.100.{}", n / 40),
            });
            writeln!(lines, "{line}").expect("memory");
        }
        let file = std::fs::File::options().append(true).open(self.at("plan").join(source));
        std::io::Write::write_all(&mut file.expect("it"), lines.as_bytes()).expect("room");
        taken(&self.live(), self.given);
    }

    /// A rule that no alert is of, before all others: each of these has another number then.
    fn another_rule(&self) {
        let rule = "title: nothing\ncorrelation: {type: event_count, rules: [R77], group-by: [host], timespan: 1h, condition: {gte: 2}}\n";
        let file = self.flow.with_file_name("correlations").join("aaa.yml");
        std::fs::write(file, rule).expect("room for a rule");
    }
}

/// After which epoch it goes otherwise, as a run said.
fn otherwise(live: &Live) -> u64 {
    let told = live.told();
    let line = told.lines().find_map(|line| line.strip_prefix("quell: from epoch "));
    let (epoch, rest) = line.expect("it is said").split_once(' ').expect("words");
    assert!(rest.starts_with("on it goes otherwise: the plan was "), "{rest}");
    epoch.parse().expect("an epoch")
}

/// Of each epoch the plan that was in force.
fn reigns(archive: &Path) -> BTreeMap<u64, String> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.epochs(None).expect("epochs").map(|line| line.expect("an epoch"));
    lines.map(|line| (line.epoch, reader.names().get(line.plan_hash))).collect()
}

/// A run that is ended in order once, and killed after; that goes by another plan since that end, or went by it from the first. What
/// the archive holds, and the epochs after which it went by the other plan.
fn journey(changes: bool, processes: &[&str]) -> (BTreeMap<String, String>, Option<u64>) {
    let mut plans = Plans::new();
    let other = |plans: &Plans| {
        plans.another_rule();
        let text = std::fs::read_to_string(&plans.flow).expect("a plan");
        std::fs::write(&plans.flow, format!("# a comment\n{text}")).expect("room for a plan");
    };
    if !changes {
        other(&plans);
    }
    let live = plans.start(&[]);
    plans.grow("a.jsonl", 0..203);
    live.stop();
    if changes {
        other(&plans);
    }
    let live = plans.start(processes);
    let after = changes.then(|| otherwise(&live));
    plans.grow("a.jsonl", 203..290);
    live.kill();
    let live = plans.start(processes);
    assert!(!live.told().contains("goes otherwise"), "{}", live.told());
    plans.grow("a.jsonl", 290..400);
    let said = live.stop();
    agrees(&said, &plans.live());
    let reigns = reigns(&plans.live());
    let plans_of = |first: bool| -> BTreeSet<&String> {
        let after = after.unwrap_or_default();
        reigns.iter().filter(|(epoch, _)| (**epoch <= after) == first).map(|(_, plan)| plan).collect()
    };
    let (before, since) = (plans_of(true), plans_of(false));
    assert!(before.len() == usize::from(changes) && since.len() == 1 && before != since, "{reigns:?}");
    if changes {
        assert_eq!(heard(&plans.live(), "promotion"), 1);
    }
    let mut held = digest(&plans.live());
    for table in ["inputs", "decisions"] {
        // Both tell of plans.
        held.remove(table);
    }
    (held, after)
}

/// What was remembered of rules goes on, though each has another number by the other plan.
#[test]
fn what_says_the_same_goes_on() {
    let (never, _) = journey(false, &[]);
    let matches: u64 = never["matches"].split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(matches > 5, "{matches}");
    for processes in [&[][..], &["--supervise", "2"]] {
        let (once, after) = journey(true, processes);
        assert!(after > Some(0));
        assert_eq!(once, never);
    }
}

#[test]
fn sources_come_and_go_and_the_policy_changes() {
    let mut plans = Plans::new();
    let live = plans.start(&[]);
    plans.grow("a.jsonl", 0..100);
    live.stop();
    // What linking looks at, the policy, and another source.
    edit(&plans.flow, "sources:\n", "sources:\n  - {name: b.jsonl, type: file, path: b.jsonl}\n");
    edit(
        &plans.flow,
        "link: {}",
        "link: {entities: [user, ip], strong: 90, campaign_gap_s: 600, degree_max: 3}",
    );
    edit(&plans.flow.with_file_name("policies/default.yml"), "score: 0.40", "score: 0.99");
    let live = plans.start(&["--snapshot-every-ms", "1"]);
    let after = otherwise(&live);
    plans.grow("b.jsonl", 100..180);
    plans.grow("a.jsonl", 180..240);
    live.kill();
    let live = plans.start(&[]);
    live.stop();
    let names = Arc::new(Names::default());
    let reader = Reader::open(plans.live(), Arc::clone(&names)).expect("an archive");
    let decided = |wanted: fn(u64, u64) -> bool| -> BTreeSet<&str> {
        let lines = reader.decisions(None).expect("decisions").map(|line| line.expect("a decision"));
        let made = lines.filter(|line| line.superseded_by.is_none() && wanted(line.epoch, after));
        made.map(|line| line.ruling.name()).collect()
    };
    assert!(decided(|epoch, after| epoch <= after).contains("execute"));
    let since = decided(|epoch, after| epoch > after);
    assert!(since.contains("escalate") && !since.contains("execute"), "{since:?}");
    // The first source goes; what it gave stays.
    edit(&plans.flow, "  - {name: a.jsonl, type: file, path: a.jsonl, tenant_from_field: true}\n", "");
    std::fs::remove_file(plans.at("plan/a.jsonl")).expect("it");
    let live = plans.start(&[]);
    assert!(otherwise(&live) > after);
    plans.grow("b.jsonl", 240..300);
    let said = live.stop();
    agrees(&said, &plans.live());
    // What two plans have done none of them computes again: the next run takes the word.
    let reader = Reader::open(plans.live(), Arc::clone(&names)).expect("an archive");
    let asked = reader.decisions(None).expect("decisions").map(|line| line.expect("a decision"));
    let asked = asked.filter(|line| line.ruling == Ruling::Escalate && line.superseded_by.is_none());
    let asked = asked.last().expect("somebody is asked").decision_id.to_string();
    let mut command = quell();
    let command = command.args(["approve", &asked, "--by", "ada", "--flow"]).arg(&plans.flow);
    let told = done(command.arg("--archive").arg(plans.live()));
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("by the next one"), "{told}");
    plans.start(&[]).stop();
    assert_eq!(heard(&plans.live(), "approval"), 1);
}

#[test]
fn what_is_not_settled_stays_with_its_plan() {
    let mut plans = Plans::new();
    let live = plans.start(&[]);
    plans.grow("a.jsonl", 0..60);
    live.kill();
    plans.another_rule();
    // A file that changed at the wrong moment stops nothing: what is not settled goes on by the plan of then.
    for processes in [&[][..], &["--supervise", "2"]] {
        let live = plans.start(processes);
        assert!(live.told().contains("going on by the plan of then"), "{}", live.told());
        live.kill();
    }
    std::fs::write(plans.flow.with_file_name("correlations").join("aaa.yml"), "title: broken\n")
        .expect("room");
    let live = plans.start(&[]);
    assert!(live.told().contains("going on by the plan of then"), "{}", live.told());
    live.kill();
    // Without its copy it is told.
    let copy = plans.live().join("_quell/plan.json");
    std::fs::rename(&copy, plans.at("copy")).expect("it");
    plans.another_rule();
    let told = Live::start(&plans.flow, &plans.live(), &[]).failed();
    assert!(told.contains("the plan was ") && told.contains("is not settled, or not kept"), "{told}");
    let rule = plans.flow.with_file_name("correlations").join("aaa.yml");
    std::fs::remove_file(&rule).expect("it");
    plans.start(&["--on-stop", "keep"]).stop();
    // Who went on by the files has kept another.
    std::fs::remove_file(&copy).expect("a copy");
    plans.another_rule();
    let told = Live::start(&plans.flow, &plans.live(), &[]).failed();
    assert!(told.contains("end the run in order"), "{told}");
    std::fs::rename(plans.at("copy"), &copy).expect("it");
    std::fs::remove_file(&rule).expect("it");
    plans.start(&[]).stop();
    // One that is told to keep what is not settled settles it where its plan has changed meanwhile: so does a service's restart.
    let live = plans.start(&["--on-stop", "keep"]);
    plans.grow("a.jsonl", 60..90);
    plans.another_rule();
    let (said, told) = live.stop_telling();
    assert!(told.contains("the plan has changed") && said["unsettled"] == 0, "{told}");
    let live = plans.start(&["--on-stop", "keep"]);
    let after = otherwise(&live);
    plans.grow("a.jsonl", 90..120);
    std::fs::remove_file(&rule).expect("it");
    live.stop();
    let live = plans.start(&[]);
    assert!(otherwise(&live) > after);
    live.stop();
    // When it is acted does not change, whatever is settled.
    let policy = plans.flow.with_file_name("policies/default.yml");
    edit(&policy, "act: settled", "act: early");
    let told = Live::start(&plans.flow, &plans.live(), &[]).failed();
    assert!(told.contains("--act was settled and is early"), "{told}");
    edit(&policy, "act: early", "act: settled");
    plans.another_rule();
    let live = plans.start(&[]);
    otherwise(&live);
    agrees(&live.stop(), &plans.live());
}
