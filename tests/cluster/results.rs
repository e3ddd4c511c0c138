//! Results are those of one process.

use std::path::Path;

use super::common::days::{Days, told};
use super::common::{agrees, count, digest, quell, replay, said, summary, summary_of};
use super::layout::Layout;

/// Processes, and workers of each.
const LAYOUTS: [(usize, usize); 4] = [(1, 2), (2, 1), (2, 2), (3, 1)];

#[test]
fn generated_sites_are_the_same_in_every_layout() {
    let days = Days::new(3_000);
    for mode in [&[][..], &["--arrival"][..]] {
        let name = |n: String| format!("{}-{n}", mode.len());
        let (first, said_first) = days.run(&name("1x1".to_owned()), mode);
        for key in ["alerts", "duplicates", "rejects", "incidents", "actions", "outcomes"] {
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
