//! Promotions: another model is put to use under a run, and the log says from where on.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::live::{Live, heard, processes, taken, until};
use common::{
    acting_plan, agrees, copy, count, digest, digest_log, done, edit, quell, replay, root, summary,
};
use quell::archive::Reader;
use quell::record::{Names, Score};
use quell::replay::generate::{Settings, generate};
use serde_json::Value;

/// A source that grows, a plan that reads it, and a registry of two models of which the first is in use.
struct Site {
    folder: tempfile::TempDir,
    flow: PathBuf,
    lines: Vec<String>,
    given: u64,
}

impl Site {
    fn new(act: &str) -> Site {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let settings = Settings { alerts: 1_500, seed: 5, days: Some(3), ..Settings::default() };
        generate(&settings, &at("days"), |_| {}).expect("room for generated days");
        let flow = acting_plan(&at("plan"), &at("days"), &["alerts.jsonl"]);
        edit(&flow, "tenant_from_field: true", "tenant_from_field: false");
        let text = std::fs::read_to_string(&flow).expect("a plan");
        std::fs::write(&flow, format!("{text}models: ../registry\n")).expect("room for a plan");
        edit(&flow.with_file_name("policies/default.yml"), "act: settled", &format!("act: {act}"));
        copy(&root().join("models/ranker"), &at("registry"));
        std::fs::write(at("plan/alerts.jsonl"), "").expect("room");
        let days = std::fs::read_to_string(at("days/alerts.jsonl")).expect("days");
        let lines = days.split_inclusive('\n').map(str::to_owned).collect();
        let site = Site { folder, flow, lines, given: 0 };
        site.promote("v1");
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn live(&self) -> PathBuf {
        self.at("live")
    }

    fn start(&self, more: &[&str]) -> Live {
        let live = Live::start(&self.flow, &self.live(), &[&["--batch", "50"], more].concat());
        live.goes_on();
        live
    }

    /// As an operator does.
    fn promote(&self, version: &str) {
        let mut command = quell();
        done(command.args(["model", "promote", version, "--by", "ada", "--models"]).arg(self.at("registry")));
    }

    /// A third of the records comes, and is taken.
    fn grow(&mut self) {
        let all = self.lines.len();
        let from = usize::try_from(self.given).expect("a few");
        let some = self.lines[from..(from + all / 3 + 1).min(all)].concat();
        std::io::Write::write_all(
            &mut std::fs::File::options().append(true).open(self.at("plan/alerts.jsonl")).expect("it"),
            some.as_bytes(),
        )
        .expect("room");
        self.given += some.lines().count() as u64;
        taken(&self.live(), self.given);
    }
}

/// The epoch after which a model is in use, once a run has said so for the `nth` time.
fn in_use(live: &Live, version: &str, nth: usize) -> u64 {
    until("the model is put to use", || {
        let told = live.told();
        let said = told.lines().filter(|line| line.contains(" is in use after epoch ")).nth(nth)?.to_owned();
        assert!(said.starts_with(&format!("quell: the model {version}:")), "{said}");
        said.rsplit(' ').next()?.parse().ok()
    })
}

/// Of each epoch of which the archive tells, which model was in use.
fn reigns(archive: &Path) -> BTreeMap<u64, String> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let version = |model: String| model.split(':').next().unwrap_or_default().to_owned();
    let lines = reader.epochs(None).expect("epochs").map(|line| line.expect("an epoch"));
    lines.map(|line| (line.epoch, version(reader.names().get(line.model_version)))).collect()
}

/// Of each decision the epoch in which it was made first, and the model that it hangs on.
fn decisions(archive: &Path) -> Vec<(u64, String, Score)> {
    let reader = Reader::open(archive, Arc::new(Names::default())).expect("an archive");
    let lines = reader.decisions(None).expect("decisions").map(|line| line.expect("a decision"));
    let made = lines.filter(|line| line.superseded_by.is_none());
    let model = |model| reader.names().get(model).split(':').next().unwrap_or_default().to_owned();
    made.map(|line| (line.epoch, model(line.model_version), line.confidence)).collect()
}

/// Every decision hangs on the model that was in use when it was made; how many on each.
fn each_by_its_own(archive: &Path, reigns: &[(u64, &str)]) -> BTreeMap<String, usize> {
    let mut by = BTreeMap::new();
    for (epoch, model, _) in decisions(archive) {
        let (_, reigned) = reigns.iter().rfind(|(after, _)| *after < epoch).expect("a model");
        assert_eq!(model, *reigned, "epoch {epoch} of {reigns:?}");
        *by.entry(model).or_default() += 1;
    }
    by
}

/// The log says the same again, and so does it with other workers.
fn replays(site: &Site, said: &Value) {
    agrees(said, &site.live());
    for workers in ["1", "2"] {
        let again = site.at(&format!("again-{workers}"));
        let archive = site.live();
        let told = summary(&mut replay(&site.flow, &[&archive], &again, &["--workers", workers]));
        assert_eq!(count(&told, "divergences"), 0, "{told}");
        assert_eq!(digest(&archive), digest(&again));
    }
}

#[test]
fn what_is_promoted_under_a_run_judges_what_comes_after() {
    for act in ["settled", "early"] {
        let mut site = Site::new(act);
        let live = site.start(&[]);
        site.grow();
        site.promote("v2");
        let first = in_use(&live, "v2", 0);
        site.grow();
        let mut command = quell();
        done(command.args(["model", "rollback", "--by", "ada", "--models"]).arg(site.at("registry")));
        let second = in_use(&live, "v1", 1);
        site.grow();
        let said = live.stop();
        assert_eq!(heard(&site.live(), "promotion"), 2);
        for (epoch, model) in reigns(&site.live()) {
            assert_eq!(model, if epoch > first && epoch <= second { "v2" } else { "v1" }, "epoch {epoch}");
        }
        let by = each_by_its_own(&site.live(), &[(0, "v1"), (first, "v2"), (second, "v1")]);
        assert!(by.len() == 2 && by.values().all(|many| *many > 5), "{act}: {by:?}");
        replays(&site, &said);
        if act == "early" {
            assert_eq!(digest_log(&site.live()), digest_log(&site.at("again-1")));
        }
        // What one model would have said of all of it.
        let archive = site.live();
        done(&mut replay(&site.flow, &[&archive], &site.at("other"), &["--rescore", "--model", "v2"]));
        let all: BTreeSet<String> =
            decisions(&site.at("other")).into_iter().map(|(_, model, _)| model).collect();
        assert_eq!(all, BTreeSet::from(["v2".to_owned()]));
    }
}

/// Whoever goes on after a kill judges again by the models of then, whether something was kept on the way or not.
#[test]
fn a_killed_run_judges_again_by_the_models_of_then() {
    for keeps in ["0", "1"] {
        let mut site = Site::new("settled");
        let keeps = ["--snapshot-every-ms", keeps];
        let live = site.start(&keeps);
        site.grow();
        site.promote("v2");
        let first = in_use(&live, "v2", 0);
        live.kill();
        let live = site.start(&keeps);
        site.grow();
        live.kill();
        // Nobody is there when it is promoted.
        site.promote("v1");
        let live = site.start(&keeps);
        let second = in_use(&live, "v1", 0);
        site.grow();
        live.kill();
        let live = site.start(&keeps);
        let (said, told) = live.stop_telling();
        assert!(!told.contains(" is in use after epoch "), "it is in use already: {told}");
        assert_eq!(heard(&site.live(), "promotion"), 2);
        each_by_its_own(&site.live(), &[(0, "v1"), (first, "v2"), (second, "v1")]);
        replays(&site, &said);
    }
}

#[test]
fn what_cannot_be_used_is_told_and_what_judged_before_is_needed() {
    let mut site = Site::new("settled");
    let keeps = ["--snapshot-every-ms", "3600000"];
    let live = site.start(&keeps);
    site.grow();
    let promoted = site.at("registry/promoted.toml");
    let was = std::fs::read_to_string(&promoted).expect("it");
    std::fs::write(&promoted, was.replace("\"v1\"", "\"v3\"")).expect("room");
    let told = until("it is told", || {
        let told = live.told();
        Some(told.lines().find(|line| line.contains("is not put to use"))?.to_owned())
    });
    assert!(told.contains("and v1:") && told.contains("registry/v3"), "{told}");
    site.grow();
    assert_eq!(live.told().matches("is not put to use").count(), 1, "{}", live.told());
    // The promotion writes both files anew.
    std::fs::remove_file(site.at("registry/promotions.toml")).expect("it");
    std::fs::write(&promoted, was).expect("room");
    site.promote("v2");
    in_use(&live, "v2", 0);
    live.kill();
    // What the log has is to be judged again, and nothing was kept behind it.
    std::fs::rename(site.at("registry/v1"), site.at("v1")).expect("room");
    let told = Live::start(&site.flow, &site.live(), &keeps).failed();
    assert!(told.contains("was judged by the model v1:") && told.contains("registry/v1"), "{told}");
    std::fs::rename(site.at("v1"), site.at("registry/v1")).expect("room");
    let live = site.start(&[&keeps[..], &["--on-stop", "keep"]].concat());
    site.grow();
    live.stop();
    // What was kept begins behind it.
    std::fs::rename(site.at("registry/v1"), site.at("v1")).expect("room");
    let said = site.start(&keeps).stop();
    std::fs::rename(site.at("v1"), site.at("registry/v1")).expect("room");
    replays(&site, &said);
}

/// All processes of a cluster start again with what was promoted; one that begins before that judges for all of them.
#[test]
fn a_cluster_starts_again_with_what_is_promoted() {
    let mut site = Site::new("settled");
    let live = site.start(&[]);
    site.grow();
    site.promote("v2");
    let first = in_use(&live, "v2", 0);
    live.kill();
    // Nothing was kept since: the first process judges again by the first model, and the second has another.
    let live = site.start(&["--supervise", "2"]);
    until("both run", || Some(()).filter(|()| processes(&live, 2).len() == 2));
    site.grow();
    site.promote("v1");
    let second = in_use(&live, "v1", 0);
    site.grow();
    live.stop();
    // Both kept snapshots are of the model in use: all processes judge.
    site.start(&["--supervise", "2"]).stop();
    let live = site.start(&["--supervise", "2"]);
    site.promote("v2");
    until("all start again", || {
        let told = live.told();
        let restarted = told.matches("Ctrl-C ends the run").count() == 2;
        (told.contains("v2:") && told.contains("start all processes again") && restarted).then_some(())
    });
    let said = live.stop();
    assert_eq!(heard(&site.live(), "promotion"), 3);
    each_by_its_own(&site.live(), &[(0, "v1"), (first, "v2"), (second, "v1")]);
    replays(&site, &said);
}
