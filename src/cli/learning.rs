//! What `train`, `evaluate` and `model` share: examples of archives, and who does what when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::report::Progress;
use super::{Failure, setup};
use crate::learn::{Bounds, Gathered, gather};
use crate::rank::PlaybookTraits;

/// Where models lie if nothing else is said.
pub(crate) const MODELS: &str = "models/ranker";

/// Examples of `archives`; the plan tells what its playbooks do.
pub(crate) fn examples(flow: &Path, archives: &[PathBuf], bounds: &Bounds) -> Result<Gathered, Failure> {
    archives.iter().try_for_each(|archive| setup::archive(archive))?;
    let plan = setup::plan(flow)?;
    let playbooks: BTreeMap<String, PlaybookTraits> =
        plan.playbooks.iter().map(|playbook| (playbook.id.clone(), setup::traits(playbook))).collect();
    let progress = Progress::start(archives.len() as u64);
    let gathered = gather(archives, &playbooks, bounds, &mut |read| progress.at(read as u64));
    progress.finish();
    Ok(gathered?)
}

/// A version's folder as registry and version.
pub(crate) fn version_of(folder: &Path) -> Result<(&Path, &str), Failure> {
    let usage = || Failure::Usage(format!("{}: name a folder such as {MODELS}/v1", folder.display()));
    let version = folder.file_name().and_then(|name| name.to_str()).ok_or_else(usage)?;
    let registry = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((registry.unwrap_or(Path::new(".")), version))
}

/// Who gives the command: what was said, or the account's name.
pub(crate) fn by(said: Option<String>) -> Result<String, Failure> {
    let account = || std::env::var("USER").or_else(|_| std::env::var("USERNAME")).ok();
    let by = said.or_else(account).filter(|by| !by.trim().is_empty());
    by.ok_or_else(|| Failure::Usage("who does this? name them with --by".to_owned()))
}

/// Now, as RFC 3339.
pub(crate) fn now() -> String {
    let second = jiff::Timestamp::from_second(setup::now().div_euclid(1000));
    second.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
