//! Results are those of one process.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::common::days::{Days, RULES, told};
use super::common::live::{Live, taken};
use super::common::{
    acting_plan, agrees, asking_plan, count, digest, edges, replay, root, said, site, summary, summary_of,
};
use super::layout::Layout;

/// Processes, and workers of each.
const LAYOUTS: [(usize, usize); 4] = [(1, 2), (2, 1), (2, 2), (3, 1)];

#[test]
fn generated_sites_are_the_same_in_every_layout() {
    let days = Days::new(3_000);
    let rules = days.flow.with_file_name("correlations").join("all.yml");
    std::fs::write(rules, RULES).expect("room for rules");
    for mode in [&[][..], &["--arrival"][..]] {
        let name = |n: String| format!("{}-{n}", mode.len());
        let (first, said_first) = days.run(&name("1x1".to_owned()), mode);
        for key in ["alerts", "duplicates", "rejects", "incidents", "actions", "outcomes", "without_number"] {
            assert!(count(&said_first, key) > 0, "no {key}: {said_first}");
        }
        for (processes, workers) in LAYOUTS {
            let folder = days.folder.path().join(name(format!("{processes}x{workers}")));
            let archive = folder.join("archive");
            let layout = Layout::new(&folder, processes, workers);
            let output = layout.all(&mut days.replay(&archive, mode), &days.flow);
            let summary = summary_of(&output);
            agrees(&summary, &archive);
            assert_eq!(digest(&archive), first, "{processes}x{workers} {mode:?}\n{}", said(&output));
            assert_eq!(told(summary), told(said_first.clone()), "{processes}x{workers} {mode:?}");
        }
    }
}

#[test]
fn the_shipped_day_and_a_journey_that_ends_at_findings() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let flow = asking_plan(&at("plan"));
    let input = root().join("datasets/soc-day/alerts.jsonl.zst");
    for ends in ["", "ends_at: findings\n"] {
        let text = std::fs::read_to_string(&flow).expect("the plan");
        std::fs::write(&flow, text + ends).expect("room for the plan");
        let name = |n: &str| at(&format!("{}-{n}", ends.len()));
        let one = summary(&mut replay(&flow, &[&input], &name("1x1"), &[]));
        let layout = Layout::new(&name("2x1"), 2, 1);
        let archive = name("2x1").join("archive");
        let two = layout.all(&mut replay(&flow, &[&input], &archive, &[]), &flow);
        assert_eq!(digest(&archive), digest(&name("1x1")), "{}", said(&two));
        assert_eq!(told(summary_of(&two)), told(one));
    }
}

/// Appends to a file that a run follows.
pub(crate) fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).create(true).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("room");
}

#[test]
fn another_layout_goes_on_where_one_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    site(&at("days"), 300, 5);
    let flow = acting_plan(&at("plan"), &at("days"), &["edges.jsonl"]);
    let input = at("plan").join("edges.jsonl");
    let all = edges(900);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    let thirds: Vec<String> = lines.chunks(300).map(<[_]>::concat).collect();
    let one = [&["--workers", "1"][..]; 3];
    let layouts: [&[&str]; 3] =
        [&["--supervise", "2"], &["--workers", "4"], &["--supervise", "3", "--workers", "2"]];
    let mut digests = Vec::new();
    for (name, ways) in [("one", one), ("several", layouts)] {
        std::fs::write(&input, "").expect("room");
        let mut summary = serde_json::Value::Null;
        for (n, (way, third)) in ways.iter().zip(&thirds).enumerate() {
            append(&input, third);
            let live = Live::start(&flow, &at(name), way);
            taken(&at(name), 300 * (n as u64 + 1));
            summary = live.stop();
            agrees(&summary, &at(name));
        }
        assert!(count(&summary, "actions") > 0, "{summary}");
        digests.push(digest(&at(name)));
    }
    assert_eq!(digests[0], digests[1]);
}
