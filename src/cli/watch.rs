//! Watch: the plan's context tables, read again when their files change, or what topics say of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::setup;
use crate::engine::words::{TopicTables, WordError};
use crate::enrich::tables::{Rows, changes};
use crate::plan::Fault;
use crate::plan::catalog::Plan;
use crate::record::{ContextRow, Diff, Entity, Known, Names};

type Changes = Vec<((Entity, ContextRow), Diff)>;
/// What tells that a file changed.
pub(crate) type Look = Option<(SystemTime, u64)>;

/// The tables as the run knows them.
pub(crate) struct Watch {
    plan: Arc<Plan>,
    names: Arc<Names>,
    files: Vec<(PathBuf, Look)>,
    topics: Option<TopicTables>,
    /// How often the topics' tables had changed when they were looked at.
    version: Option<u64>,
    rows: Rows,
}

impl Watch {
    /// Tables of which the run knows nothing yet, or what the log told it.
    pub(crate) fn new(plan: &Arc<Plan>, names: &Arc<Names>, topics: Option<TopicTables>) -> Watch {
        let files = plan.pipeline.context.files().map(|(_, file)| (plan.path(file), None)).collect();
        let (plan, names, rows) = (Arc::clone(plan), Arc::clone(names), Rows::new());
        Watch { plan, names, files, topics, version: None, rows }
    }

    /// Whether the plan names any.
    pub(crate) fn has_tables(&self) -> bool {
        !self.files.is_empty() || self.topics.is_some()
    }

    /// Whether topics are read as far as they went when the run began.
    pub(crate) fn is_ready(&self) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.version().is_some())
    }

    /// Why topics are read no more.
    pub(crate) fn failed(&self) -> Option<WordError> {
        self.topics.as_ref().and_then(TopicTables::failed)
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
        let version = self.topics.as_ref().and_then(TopicTables::version);
        let same = self.files.iter().zip(&looks).all(|((_, before), now)| before == now);
        if (same && version == self.version) || !self.is_ready() {
            return Ok(Changes::new());
        }
        self.version = version;
        for ((_, before), now) in self.files.iter_mut().zip(looks) {
            *before = now;
        }
        let mut now = setup::context(&self.plan, &self.names)?;
        now.extend(self.topics.as_ref().map(TopicTables::rows).unwrap_or_default());
        let changed = changes(&self.rows, &now);
        self.rows = now;
        Ok(changed)
    }
}

/// How a file stands now.
pub(crate) fn look(path: &std::path::Path) -> Look {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
