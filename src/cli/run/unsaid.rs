//! Unsaid: what was to be said at once, of findings and decisions, and could not be.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, anyhow};

use super::Args;
use crate::cli::Failure;
use crate::engine::crier::{Crier, Criers};
use crate::record::Names;

/// Why something was not said, over all of a run.
#[derive(Clone, Default)]
pub(super) struct Unsaid(Arc<Mutex<Vec<String>>>);

impl Unsaid {
    /// Who says at once what somebody wants to hear.
    pub(super) fn criers(&self, args: &Args, names: &Arc<Names>) -> Result<Criers, Failure> {
        Ok(Criers {
            findings: self.crier(args.findings.as_deref(), names)?,
            decisions: self.crier(args.decisions.as_deref(), names)?,
        })
    }

    fn crier(&self, path: Option<&Path>, names: &Arc<Names>) -> Result<Option<Crier>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let (out, what): (Box<dyn Write + Send>, _) = if path.as_os_str() == "-" {
            (Box::new(std::io::stdout()), "standard output".to_owned())
        } else {
            let file = File::options().append(true).create(true).open(path);
            let file = file.with_context(|| {
                format!("{} cannot be written; check the path and its rights", path.display())
            })?;
            (Box::new(file), path.display().to_string())
        };
        let all = Arc::clone(&self.0);
        let lost = move |error: &std::io::Error| {
            let why = format!("{what} cannot be written: {error}");
            eprintln!("quell: {why}; nothing more is said there, and the run goes on: the archive has all");
            all.lock().unwrap_or_else(PoisonError::into_inner).push(why);
        };
        Ok(Some(Crier::new(out, Arc::clone(names), Box::new(lost))))
    }

    /// A run of which something was not said has failed, though its archive is whole.
    pub(super) fn told(&self) -> Result<(), Failure> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return Ok(());
        }
        Err(anyhow!("not all was said: {}; the archive has it", all.join(", ")).into())
    }
}
