//! Models: which one a live run is to judge by, and which one judged what the log has.
//!
//! Without `--model` it is the registry's promoted one: `promoted.toml` is looked at now and then, and another version in it is
//! put to use between two epochs. One that cannot be used is told, once, and the run goes on with the one it has. What the log
//! has is judged again by the model of then, which so must still lie in the registry.

use std::path::PathBuf;
use std::sync::Arc;

use super::watch::{Look, look};
use super::{Failure, setup, whole};
use crate::engine::feed;
use crate::engine::log::{Log, LogError};
use crate::plan::catalog::Plan;
use crate::rank::Ranker;
use crate::record::Epoch;

/// The model that a run is to judge by.
pub(crate) struct Wanted {
    plan: Arc<Plan>,
    /// The version that the command line names.
    pinned: Option<String>,
    /// The registry's `promoted.toml`; none where nothing can be promoted under the run.
    promoted: Option<PathBuf>,
    looked: Look,
    /// What was told of it last, where it could not be used.
    told: String,
}

impl Wanted {
    /// The promoted one, or the one that is `pinned`.
    pub(crate) fn new(plan: &Arc<Plan>, pinned: Option<&str>) -> Wanted {
        let registry = plan.pipeline.models.as_ref().filter(|_| pinned.is_none());
        let promoted = registry.map(|models| plan.path(models).join("promoted.toml"));
        let (plan, pinned) = (Arc::clone(plan), pinned.map(str::to_owned));
        Wanted { plan, pinned, promoted, looked: None, told: String::new() }
    }

    /// The model as it is wanted now.
    pub(crate) fn ranker(&mut self) -> Result<Ranker, Failure> {
        self.looked = self.look();
        setup::ranker(&self.plan, self.pinned.as_deref())
    }

    /// Another model than the one `in_use`, where another one was promoted since it was looked at last.
    pub(crate) fn other_than(&mut self, in_use: &str) -> Option<Ranker> {
        let look = self.look();
        if look == self.looked {
            return None;
        }
        self.looked = look;
        match load(&self.plan, None) {
            Ok(ranker) => {
                self.told.clear();
                Some(ranker).filter(|ranker| ranker.version() != in_use)
            }
            Err(why) => {
                if why != self.told {
                    eprintln!("quell: what is promoted is not put to use, and {in_use} stays in use: {why}");
                    self.told = why;
                }
                None
            }
        }
    }

    fn look(&self) -> Look {
        look(self.promoted.as_ref()?)
    }
}

/// Which models judged what the log has.
pub(crate) struct Judged {
    /// The one that it was begun with, unless an older version did not tell.
    began: Option<String>,
    /// Those that were put to use on the way, each with the epoch after which it judged.
    promotions: Vec<(Epoch, String)>,
}

impl Judged {
    /// As the log has it.
    pub(crate) fn of(log: &Log) -> Result<Judged, LogError> {
        let began = log.meta("run")?.and_then(|run| serde_json::from_str::<serde_json::Value>(&run).ok());
        let began = began.and_then(|run| run["model"].as_str().map(str::to_owned));
        Ok(Judged { began, promotions: log.promotions()? })
    }

    /// The one that was in use after an epoch.
    pub(crate) fn after(&self, epoch: Epoch) -> Option<&str> {
        let last = self.promotions.iter().rfind(|(at, _)| *at <= epoch).map(|(_, model)| model);
        last.or(self.began.as_ref()).map(String::as_str)
    }

    /// Whether all that the log has after an epoch was judged by this model.
    pub(crate) fn is_all(&self, epoch: Epoch, model: &str) -> bool {
        let later = self.promotions.iter().filter(|(at, _)| *at > epoch).map(|(_, model)| model.as_str());
        self.after(epoch).into_iter().chain(later).all(|judged| judged == model)
    }
}

/// Finds a model of the plan's registry by the name that the log and decisions have for it.
pub(crate) fn finder(plan: &Arc<Plan>) -> feed::Models {
    let plan = Arc::clone(plan);
    Box::new(move |model| {
        let version = model.split_once(':').map(|(version, _)| version);
        let ranker = load(&plan, version)?;
        match ranker.version() {
            found if found == model => Ok(ranker),
            found => Err(format!(
                "what the registry has of it is {found}; put its files back, or set the archive aside with --fresh"
            )),
        }
    })
}

fn load(plan: &Plan, version: Option<&str>) -> Result<Ranker, String> {
    setup::ranker(plan, version).map_err(|failure| match failure {
        Failure::Failed(error) => whole(&error),
        Failure::Usage(why) => why,
        Failure::Diverged(_) | Failure::Plan(_) => "the plan does not fit it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_has_its_model() {
        let at = |epoch, model: &str| (epoch, model.to_owned());
        let began = Some("a".to_owned());
        let judged = Judged { began, promotions: vec![at(3, "b"), at(7, "c"), at(7, "b")] };
        let after = [0, 2, 3, 6, 7, 9].map(|epoch| judged.after(epoch));
        assert_eq!(after, ["a", "a", "b", "b", "b", "b"].map(Some));
        assert_eq!([2, 3, 6, 7].map(|epoch| judged.is_all(epoch, "b")), [false, false, false, true]);
    }
}
