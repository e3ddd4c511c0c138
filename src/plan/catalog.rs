//! The whole plan: `pipeline.yml` and the folders beside it, read and checked together, every fault told at once, frozen
//! under one hash.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use super::Fault;
use super::correlation::{Correlations, reach};
use super::mapping::{self, Mapping};
use super::pipeline::{self, EndsAt, Pipeline};
use super::playbook::{self, Playbook};
use super::policy::{self, Policy};
use super::router::Router;
use super::rule::{self, Rules};
use super::spare::spared;
use super::text;
use crate::record::Tick;

/// A plan that passed its checks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder of `pipeline.yml`.
    pub folder: PathBuf,
    /// The file itself.
    pub pipeline: Pipeline,
    /// How bytes become alerts.
    pub mappings: Vec<Mapping>,
    /// Detection rules for raw events.
    pub rules: Arc<Rules>,
    /// Correlation rules, and filters.
    pub correlations: Correlations,
    /// Responses.
    pub playbooks: Vec<Playbook>,
    /// Limits.
    pub policy: Policy,
    /// BLAKE3 over the plan's files, by name.
    pub hash: String,
    /// Allowed lateness.
    pub lateness_s: Tick,
    /// Dedup window.
    pub dedup_s: Tick,
    /// See [`Pipeline::future_max`].
    pub future_max_s: Tick,
}

/// What a plan's files hold, as far as they could be read, and all that is wrong with them. `quell check` goes on with
/// what there is, so that one broken file hides no fault of another.
#[derive(Debug)]
pub struct Parts {
    /// The folder of `pipeline.yml`.
    pub folder: PathBuf,
    /// The file itself.
    pub pipeline: Option<Pipeline>,
    /// Those that could be read.
    pub mappings: Vec<Mapping>,
    /// Those that can be used.
    pub rules: Arc<Rules>,
    /// Those that could be read.
    pub correlations: Correlations,
    /// All, or none where one could not be read.
    pub playbooks: Vec<Playbook>,
    /// Limits.
    pub policy: Option<Policy>,
    /// Sorted by file and line.
    pub faults: Vec<Fault>,
    flow: PathBuf,
}

impl Plan {
    /// How bytes become alerts, as far as the journey goes.
    #[must_use]
    pub fn mappings(&self) -> Vec<Mapping> {
        match self.pipeline.ends_at {
            EndsAt::Actions => self.mappings.clone(),
            EndsAt::Findings => spared(&self.mappings, &self.correlations),
        }
    }
}

impl Parts {
    /// Reads and checks everything.
    #[must_use]
    pub fn read(flow: &Path) -> Parts {
        Parts::read_beside(flow, folder_of(flow))
    }

    /// The same of a plan whose tables, models and keys lie in another folder.
    fn read_beside(flow: &Path, beside: &Path) -> Parts {
        let (folder, mut faults) = (folder_of(flow), Vec::new());
        let pipeline = pipeline::read(flow, beside, &mut faults);
        // Until all is read nothing else goes on.
        let (mut mappings, (rules, refused), playbooks) = thread::scope(|scope| {
            let rules = scope.spawn(|| Rules::load(&rule_folders(folder, pipeline.as_ref())));
            let playbooks = scope.spawn(|| playbook::load(&folder.join("playbooks")));
            let mappings = each(&folder.join("mappings"), "yml", mapping::load, &mut faults);
            (mappings, joined(rules), joined(playbooks))
        });
        faults.extend(refused);
        let rules = Arc::new(rules);
        route(&mut mappings, &rules);
        let mut correlations = read_correlations(&folder.join("correlations"), &mut faults);
        correlations.know(&rules);
        faults.extend(reach::check(&correlations, &mappings));
        let playbooks = playbooks.map_err(|more| faults.extend(more)).ok();
        let policy = pipeline.as_ref().and_then(|pipeline| {
            let policy = read_policy(&folder.join(&pipeline.policy), playbooks.as_deref());
            policy.map_err(|more| faults.extend(more)).ok()
        });
        faults.sort();
        faults.dedup();
        let (folder, flow) = (beside.to_owned(), flow.to_owned());
        let playbooks = playbooks.unwrap_or_default();
        Parts { folder, pipeline, mappings, rules, correlations, playbooks, policy, faults, flow }
    }

    /// The plan that they make, or their faults.
    pub fn plan(self) -> Result<Plan, Vec<Fault>> {
        let Parts { folder, pipeline, mappings, rules, correlations, playbooks, policy, faults, flow } = self;
        let (Some(pipeline), Some(policy), true) = (pipeline, policy, faults.is_empty()) else {
            return Err(faults);
        };
        let span = |text: &str| pipeline::seconds(text).unwrap_or_default();
        Ok(Plan {
            hash: hash(&flow, &pipeline).map_err(|fault| vec![fault])?,
            folder,
            lateness_s: span(&pipeline.lateness),
            dedup_s: span(&pipeline.dedup_window),
            future_max_s: span(&pipeline.future_max),
            pipeline,
            mappings,
            rules,
            correlations,
            playbooks,
            policy,
        })
    }
}

impl Plan {
    /// Reads and checks everything; on any fault tells all of them, sorted by file and line.
    pub fn load(flow: &Path) -> Result<Plan, Vec<Fault>> {
        Parts::read(flow).plan()
    }

    /// The same of a plan whose tables, models and keys lie in another folder, which is the plan's.
    pub(super) fn load_beside(flow: &Path, beside: &Path) -> Result<Plan, Vec<Fault>> {
        Parts::read_beside(flow, beside).plan()
    }

    /// A path of the pipeline file, from its folder.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// Where detection rules lie; none where the pipeline names none and `rules` is not there.
fn rule_folders(folder: &Path, pipeline: Option<&Pipeline>) -> Vec<PathBuf> {
    match pipeline.and_then(|pipeline| pipeline.rules.as_ref()) {
        Some(named) => named.iter().map(|path| folder.join(path)).collect(),
        None => Some(folder.join("rules")).filter(|rules| rules.is_dir()).into_iter().collect(),
    }
}

/// Gives each mapping of events the rules that its events are tried against.
fn route(mappings: &mut [Mapping], rules: &Arc<Rules>) {
    for detection in mappings.iter_mut().filter_map(|mapping| mapping.detection.as_mut()) {
        detection.router = Some(Arc::new(Router::new(&detection.logsource, rules)));
    }
}

fn read_policy(file: &Path, playbooks: Option<&[Playbook]>) -> Result<Policy, Vec<Fault>> {
    let text = text::read(file).map_err(|error| {
        vec![Fault::of(
            file,
            format!("cannot be read: {error}"),
            "name a policy file in the pipeline's `policy`",
        )]
    })?;
    policy::read(file, &text, playbooks)
}

/// Loads every file of a folder with that ending that can be, in order of names; a folder that is not there has none.
fn each<T: Send>(
    folder: &Path,
    ending: &str,
    load: impl Fn(&Path) -> Result<T, Vec<Fault>> + Sync,
    faults: &mut Vec<Fault>,
) -> Vec<T> {
    let files = files(folder, ending).unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    let load_all = |files: &[PathBuf]| files.iter().map(|file| load(file)).collect::<Vec<_>>();
    // A plan has dozens of mappings: another thread reads half of them.
    let (some, others) = files.split_at(files.len().div_ceil(2));
    let loaded = thread::scope(|scope| {
        let others = (!others.is_empty()).then(|| scope.spawn(|| load_all(others)));
        let mut loaded = load_all(some);
        loaded.extend(others.map(joined).into_iter().flatten());
        loaded
    });
    loaded.into_iter().filter_map(|item| item.map_err(|more| faults.extend(more)).ok()).collect()
}

/// What another thread came to.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Fault> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
    });
    let mut files = listed.map_err(|error| {
        Fault::of(folder, format!("cannot be listed: {error}"), "make the folder readable")
    })?;
    files.retain(|file| {
        file.extension().is_some_and(|found| found == ending || ending == "yml" && found == "yaml")
    });
    files.sort();
    Ok(files)
}

fn read_correlations(folder: &Path, faults: &mut Vec<Fault>) -> Correlations {
    let files = files(folder, "yml").map_err(|fault| faults.push(fault)).unwrap_or_default();
    Correlations::read(&files, faults)
}

/// A plan's folder.
#[must_use]
pub fn folder_of(flow: &Path) -> &Path {
    flow.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The files that make a plan, the pipeline's own first.
pub(super) fn files_of(flow: &Path, pipeline: &Pipeline) -> Result<Vec<PathBuf>, Fault> {
    let folder = folder_of(flow);
    let mut all = vec![flow.to_owned(), folder.join(&pipeline.policy)];
    for (name, ending) in [("mappings", "yml"), ("correlations", "yml"), ("playbooks", "json")] {
        all.extend(files(&folder.join(name), ending)?);
    }
    for rules in rule_folders(folder, Some(pipeline)) {
        let (files, faults) = rule::files(&rules);
        faults.into_iter().next().map_or(Ok(()), Err)?;
        all.extend(files);
    }
    Ok(all)
}

fn hash(flow: &Path, pipeline: &Pipeline) -> Result<String, Fault> {
    let mut hasher = blake3::Hasher::new();
    for file in files_of(flow, pipeline)? {
        let bytes = std::fs::read(&file)
            .map_err(|error| Fault::of(&file, format!("cannot be read: {error}"), "make it readable"))?;
        // The name without its folder: the same plan elsewhere is the same plan.
        hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}
