//! Watch: the plan's context tables, read again when their files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::setup;
use crate::enrich::tables::{Rows, changes};
use crate::plan::Fault;
use crate::plan::catalog::Plan;
use crate::record::{ContextRow, Diff, Entity, Known, Names};

type Changes = Vec<((Entity, ContextRow), Diff)>;
/// What tells that a file changed.
type Look = Option<(SystemTime, u64)>;

/// The tables as the run knows them.
pub(crate) struct Watch {
    plan: Arc<Plan>,
    names: Arc<Names>,
    files: Vec<(PathBuf, Look)>,
    rows: Rows,
}

impl Watch {
    /// Tables of which the run knows nothing yet, or what the log told it.
    pub(crate) fn new(plan: &Arc<Plan>, names: &Arc<Names>) -> Watch {
        let files = plan.pipeline.context.files().map(|(_, file)| (plan.path(file), None)).collect();
        Watch { plan: Arc::clone(plan), names: Arc::clone(names), files, rows: Rows::new() }
    }

    /// Whether the plan names any.
    pub(crate) fn has_tables(&self) -> bool {
        !self.files.is_empty()
    }

    /// The run took changes: they are known.
    pub(crate) fn know(&mut self, changes: &Changes) {
        // What archives were found to have is in no file.
        let of_files =
            |((_, row), _): &&((Entity, ContextRow), Diff)| !matches!(row.known, Known::Sightings(_));
        for (row, diff) in changes.iter().filter(of_files) {
            if *diff > 0 {
                self.rows.insert(*row);
            } else {
                self.rows.remove(row);
            }
        }
    }

    /// What the files say that is not known yet; a file that cannot be read leaves everything as it is.
    pub(crate) fn look(&mut self) -> Result<Changes, Vec<Fault>> {
        let looks: Vec<Look> = self.files.iter().map(|(path, _)| look(path)).collect();
        if self.files.iter().zip(&looks).all(|((_, before), now)| before == now) {
            return Ok(Changes::new());
        }
        for ((_, before), now) in self.files.iter_mut().zip(looks) {
            *before = now;
        }
        let now = setup::context(&self.plan, &self.names)?;
        let changed = changes(&self.rows, &now);
        self.rows = now;
        Ok(changed)
    }
}

fn look(path: &std::path::Path) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
