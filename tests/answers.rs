//! What people answer after the end: approvals and denials of a finished run take effect at once, once, and are replayed.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, taken};
use common::world::{calling, world};
use common::{asking_plan, count, digest, done, edges, held, quell, replay, said, site, summary};
use quell::archive::{DecisionLine, OutcomeLine, Reader};
use quell::engine::log::{Heard, Log, LoggedEpoch};
use quell::record::{DecisionId, InputKind, Names, Ruling};
use tempfile::TempDir;

/// Decisions that people are asked about, in order.
fn asked(archive: &Path) -> Vec<DecisionLine> {
    let all = decisions(archive);
    let replaced = |id| all.iter().any(|line| line.decision_id == id && line.superseded_by.is_some());
    let mut asked: Vec<_> =
        all.iter().filter(|it| it.ruling == Ruling::Escalate && !replaced(it.decision_id)).cloned().collect();
    asked.sort_by_key(|line| (line.tick, line.decision_id));
    asked
}

fn decisions(archive: &Path) -> Vec<DecisionLine> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    reader.decisions(None).expect("decisions").map(|line| line.expect("a decision")).collect()
}

fn outcomes(archive: &Path) -> Vec<OutcomeLine> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    reader.outcomes(None).expect("outcomes").map(|line| line.expect("an outcome")).collect()
}

/// How a decision was answered: the ruling that took its place.
fn answer_to(archive: &Path, id: DecisionId) -> Ruling {
    let all = decisions(archive);
    let by = all.iter().filter(|line| line.decision_id == id).find_map(|line| line.superseded_by);
    all.iter().find(|line| Some(line.decision_id) == by).expect("an answer").ruling
}

/// `quell approve` or `quell deny`: the exit code, and what it says.
fn say(command: &str, archive: &Path, flow: &Path, id: DecisionId, by: &str) -> (Option<i32>, String) {
    let mut say = quell();
    say.args([command, &id.to_string(), "--by", by]).arg("--archive").arg(archive).arg("--flow").arg(flow);
    let output = say.output().expect("it starts");
    (output.status.code(), said(&output))
}

/// Days replayed in a simulated site, with a plan that asks people; the folder, the plan, the archive.
struct Asking {
    folder: TempDir,
    flow: PathBuf,
    archive: PathBuf,
}

impl Asking {
    fn new(policy: impl Fn(String) -> String) -> Asking {
        let folder = tempfile::tempdir().expect("a folder");
        let days = folder.path().join("site");
        site(&days, 1_500, 7);
        let flow = asking_plan(&folder.path().join("plan"));
        let path = folder.path().join("plan/policies/default.yml");
        let text = std::fs::read_to_string(&path).expect("the policy");
        std::fs::write(&path, policy(text)).expect("room for the policy");
        let asking = Asking { flow, archive: folder.path().join("first"), folder };
        let quiet = asking.replay(&days.join("alerts.jsonl"), &asking.archive);
        assert_eq!(count(&quiet, "actions"), 0, "{quiet}");
        asking
    }

    fn replay(&self, from: &Path, to: &Path) -> serde_json::Value {
        let site = self.folder.path().join("site");
        let mut command = replay(&self.flow, &[from], to, &[]);
        command.arg("--environment").arg(site.join("environment.json"));
        summary(command.arg("--truth").arg(site.join("truth.jsonl")))
    }

    /// Replays the archive, and tells that nothing is otherwise.
    fn says_the_same(&self, name: &str) {
        let to = self.folder.path().join(name);
        let said = self.replay(&self.archive, &to);
        assert_eq!(count(&said, "divergences"), 0, "{said}");
        held(&to);
        assert_eq!(digest(&to), digest(&self.archive));
    }
}

#[test]
fn what_is_approved_after_the_end_is_carried_out_at_once() {
    let asking = Asking::new(|policy| policy);
    let Asking { folder, flow, archive } = &asking;
    let ids: Vec<DecisionId> = asked(archive).iter().map(|line| line.decision_id).collect();
    assert!(ids.len() > 4, "{}", ids.len());
    let before = digest(archive);
    let other = asking_plan(&folder.path().join("other"));
    let policy = folder.path().join("other/policies/default.yml");
    let text = std::fs::read_to_string(&policy).expect("the policy");
    std::fs::write(&policy, text.replace("escalate: 0.40", "escalate: 0.41")).expect("room");
    let (code, text) = say("approve", archive, &other, ids[0], "ada");
    assert_eq!((code, text.contains("--flow")), (Some(1), true), "{text}");
    let kill = archive.join("_quell/KILL");
    std::fs::write(&kill, "").expect("room");
    let (code, text) = say("approve", archive, flow, ids[0], "ada");
    assert_eq!((code, text.contains("kill switch")), (Some(1), true), "{text}");
    std::fs::remove_file(&kill).expect("it is there");
    assert_eq!(digest(archive), before, "what was refused left nothing");
    for (n, id) in ids.iter().take(4).enumerate() {
        let (code, text) = say(if n == 1 { "deny" } else { "approve" }, archive, flow, *id, "ada");
        assert_eq!((code, text.contains("as decision")), (Some(0), true), "{text}");
        assert_eq!(answer_to(archive, *id), if n == 1 { Ruling::Decline } else { Ruling::Execute });
        let (code, text) = say("approve", archive, flow, *id, "bo");
        assert_eq!((code, text.contains("answered before")), (Some(1), true), "{text}");
    }
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let actions: Vec<_> = reader.actions(None).expect("actions").map(|line| line.expect("one")).collect();
    assert!(actions.iter().any(|line| line.status.name() == "succeeded"), "{actions:?}");
    let outcomes = outcomes(archive);
    assert!(outcomes.iter().any(|line| line.labelled_by == "simulation" && line.success == Some(true)));
    held(archive);
    let after = digest(archive);
    for table in ["alerts", "members", "incidents", "candidates", "verdicts"] {
        assert_eq!(after[table], before[table], "{table}");
    }
    asking.says_the_same("again");
    // A verdict beside it, which is an epoch of its own as well.
    let incident = asked(archive)[0].incident_id.to_string();
    done(quell().args(["verdict", &incident, "false_positive", "--by", "ada", "--archive"]).arg(archive));
    asking.says_the_same("with a verdict");
    let (code, text) = say("approve", archive, flow, ids[4], "ada");
    assert_eq!(code, Some(0), "{text}");
    asking.says_the_same("and one more");
}

#[test]
fn two_people_are_two_people() {
    let asking = Asking::new(|policy| policy.replace("  people: 1\n", "  people: 2\n"));
    let Asking { flow, archive, .. } = &asking;
    let id = asked(archive)[0].decision_id;
    let (code, text) = say("approve", archive, flow, id, "ada");
    assert_eq!((code, text.contains("1 of 2 people")), (Some(0), true), "{text}");
    let (code, text) = say("approve", archive, flow, id, " Ada");
    assert_eq!((code, text.contains("said before")), (Some(0), true), "{text}");
    assert!(asked(archive).iter().any(|line| line.decision_id == id), "it is a question still");
    let (code, text) = say("approve", archive, flow, id, "bo");
    assert_eq!((code, text.contains("as decision")), (Some(0), true), "{text}");
    assert_eq!(answer_to(archive, id), Ruling::Execute);
    let detail = decisions(archive).into_iter().filter_map(|line| line.reason_detail);
    assert!(detail.into_iter().any(|detail| detail.contains("ada, bo")));
    asking.says_the_same("again");
}

#[test]
fn an_answer_that_was_cut_is_completed() {
    let asking = Asking::new(|policy| policy);
    let Asking { flow, archive, .. } = &asking;
    let line = asked(archive).remove(0);
    let (id, tenant) = (line.decision_id, decisions_tenant(archive, line.decision_id));
    // The process ended when the answer was in the log, and nothing of it was done.
    let mut log = Log::open(archive).expect("a log");
    let (last, tick) = log.committed().expect("it").expect("a commit");
    let body =
        serde_json::json!({ "decision_id": id, "approved": true, "by": "ada", "time": 7, "tenant": tenant });
    let logged = LoggedEpoch { epoch: last + 1, settled: tick + 1, last: true, parts: Vec::new() };
    let approval = (InputKind::Approval.name(), body.to_string());
    let heard = Heard { epoch: last + 1, said: vec![approval], taken: Vec::new() };
    log.record_with(&[logged], None, &heard).expect("room");
    drop(log);
    let incident = line.incident_id.to_string();
    let verdict = ["verdict", &incident, "false_positive", "--by", "ada", "--archive"];
    let output = quell().args(verdict).arg(archive).output().expect("it starts");
    assert!(!output.status.success() && said(&output).contains("was cut"), "{}", said(&output));
    let (code, text) = say("approve", archive, flow, id, "ada");
    assert_eq!((code, text.contains("answered before")), (Some(1), true), "{text}");
    assert_eq!(answer_to(archive, id), Ruling::Execute);
    assert!(held(archive).actions > 0);
    asking.says_the_same("again");
}

/// Whose a decision is, by name.
fn decisions_tenant(archive: &Path, id: DecisionId) -> String {
    let names = Arc::new(Names::default());
    let reader = Reader::open(archive, Arc::clone(&names)).expect("an archive");
    let mut lines = reader.decisions(None).expect("decisions").map(|line| line.expect("a decision"));
    names.get(lines.find(|line| line.decision_id == id).expect("it is there").tenant)
}

#[test]
fn a_live_run_that_is_over_gives_the_order_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, archive) = (folder.path().join("plan"), folder.path().join("live"));
    let flow = asking_plan(&plan);
    let (address, given) = world();
    calling(&flow, address);
    let source = "tenant: default\nsources:\n  - {name: edges.jsonl, type: file, path: edges.jsonl}\n";
    let text = std::fs::read_to_string(&flow).expect("the plan");
    std::fs::write(&flow, text.replace("tenant: default\n", source)).expect("room");
    std::fs::write(plan.join("edges.jsonl"), edges(300)).expect("room");
    let live = Live::start(&flow, &archive, &[]);
    taken(&archive, 300);
    live.stop();
    let calls = || given.lock().expect("no panic").values().sum::<u32>();
    assert_eq!(calls(), 0, "nobody was asked yet");
    let ids: Vec<DecisionId> = asked(&archive).iter().map(|line| line.decision_id).collect();
    for id in ids.iter().take(3) {
        let (code, text) = say("approve", &archive, &flow, *id, "ada");
        assert_eq!((code, text.contains("as decision")), (Some(0), true), "{text}");
    }
    let then = calls();
    assert!(then > 0, "it is for the world");
    assert!(outcomes(&archive).iter().any(|line| line.labelled_by == "webhook"));
    let after = digest(&archive);
    let again = folder.path().join("again");
    done(&mut replay(&flow, &[&archive], &again, &[]));
    assert_eq!(digest(&again), after);
    // The run goes on with what was answered, and orders nothing twice.
    let live = Live::start(&flow, &archive, &[]);
    live.goes_on();
    assert_eq!(count(&live.stop(), "divergences"), 0);
    let went_on = digest(&archive);
    for table in ["decisions", "actions", "outcomes"] {
        assert_eq!(went_on[table], after[table], "{table}");
    }
    assert_eq!(calls(), then);
}

#[test]
fn words_that_are_said_at_once_wait_for_one_another() {
    let asking = Asking::new(|policy| policy);
    let Asking { archive, .. } = &asking;
    let incident = asked(archive)[0].incident_id.to_string();
    let people = ["ada", "bo", "cy", "di", "ed", "flo"];
    let say = |by: &str| {
        let mut say = quell();
        say.args(["verdict", &incident, "false_positive", "--by", by, "--output", "json", "--archive"]);
        say.arg(archive).stdout(std::process::Stdio::piped()).spawn().expect("it starts")
    };
    let saying: Vec<_> = people.iter().map(|by| say(by)).collect();
    for (by, said_by) in people.iter().zip(saying) {
        let output = said_by.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{by}: {}", said(&output));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let wanted = serde_json::json!({ "incident_id": incident, "verdict": "false_positive", "by": by, "taken": "now" });
        assert_eq!(told, wanted);
    }
    let outcomes = outcomes(archive);
    let labelled = |by: &str| outcomes.iter().filter(|line| line.labelled_by == by).count();
    assert!(people.iter().all(|by| labelled(by) == 1), "each is kept once");
    asking.says_the_same("again");
}

#[test]
fn programs_are_told_what_came_of_an_answer() {
    let asking = Asking::new(|policy| policy.replace("  people: 1\n", "  people: 2\n"));
    let Asking { flow, archive, .. } = &asking;
    let ids: Vec<DecisionId> = asked(archive).iter().map(|line| line.decision_id).collect();
    let say = |command: &str, id: DecisionId, by: &str| -> serde_json::Value {
        let mut say = quell();
        say.args([command, &id.to_string(), "--by", by, "--output", "json", "--archive"]).arg(archive);
        summary(say.arg("--flow").arg(flow))
    };
    let told = say("approve", ids[0], "ada");
    assert_eq!((&told["taken"], &told["people_approved"]), (&"waiting".into(), &1.into()), "{told}");
    let told = say("approve", ids[0], "bo");
    assert_eq!((&told["taken"], &told["approved"]), (&"now".into(), &true.into()), "{told}");
    assert!(told["superseded_by"].is_string() && told["actions"].is_object(), "{told}");
    let told = say("deny", ids[1], "ada");
    assert_eq!((&told["taken"], &told["approved"]), (&"now".into(), &false.into()), "{told}");
}
