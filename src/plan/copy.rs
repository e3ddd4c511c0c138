//! Copy: a plan's files as one, so that what was begun by it can go on by it, though the files have changed since.
//!
//! Tables, models and keys are none of it: these are looked for where they lie.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::catalog::{Plan, files_of, folder_of};

/// See the head of this file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// The pipeline's file.
    flow: PathBuf,
    /// All of them by their paths from the plan's folder, with what they hold.
    files: BTreeMap<PathBuf, String>,
}

impl Copy {
    /// A copy of a plan that was read from `flow`.
    ///
    /// # Errors
    /// Where a file cannot be read any more, or is named by a path that is not the plan's.
    pub fn of(flow: &Path, plan: &Plan) -> io::Result<Copy> {
        let folder = folder_of(flow);
        // A file is named as the plan names it: `../sigma/rules` is a path from its folder, too.
        let own = |file: &Path| file.strip_prefix(folder).map(Path::to_owned).map_err(io::Error::other);
        let mut files = BTreeMap::new();
        for file in files_of(flow, &plan.pipeline).map_err(|fault| io::Error::other(fault.to_string()))? {
            files.insert(own(&file)?, std::fs::read_to_string(&file)?);
        }
        Ok(Copy { flow: own(flow)?, files })
    }

    /// The plan, whose tables, models and keys lie in `beside`; `room` is a folder that is made for its files, and taken away again.
    ///
    /// # Errors
    /// Where the folder cannot be written, or what is beside the files does not fit them any more.
    pub fn plan(&self, beside: &Path, room: &Path) -> io::Result<Plan> {
        let up = |path: &PathBuf| path.components().filter(|part| *part == Component::ParentDir).count();
        let depth = self.files.keys().map(up).max().unwrap_or(0);
        let folder = (0..depth).fold(room.join("plan"), |folder, _| folder.join("plan"));
        let read = || {
            // A folder without a file is one that is there.
            for name in ["mappings", "correlations", "playbooks"] {
                std::fs::create_dir_all(folder.join(name))?;
            }
            for (path, text) in &self.files {
                if path.is_absolute() {
                    return Err(io::Error::other(format!(
                        "{} is no path from the plan's folder",
                        path.display()
                    )));
                }
                let file = folder.join(path);
                file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::write(file, text)?;
            }
            let told = |faults: Vec<super::Fault>| {
                io::Error::other(faults.first().map(ToString::to_string).unwrap_or_default())
            };
            Plan::load_beside(&folder.join(&self.flow), beside).map_err(told)
        };
        let plan = read();
        std::fs::remove_dir_all(room)?;
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_plan_that_it_was_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let shipped = std::fs::read_to_string(root.join("dataflows/pipeline.yml")).unwrap();
        let flow = at("plan/pipeline.yml");
        for name in ["plan/mappings", "plan/policies", "plan/playbooks", "elsewhere/rules"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let models = format!("models: {}\n", root.join("models/ranker").display());
        let text = shipped.replace("models: ../models/ranker\n", &models) + "rules: [../elsewhere/rules]\n";
        std::fs::write(&flow, text).unwrap();
        let rule = "title: a rule\nid: 5f1abf38-58a2-4d2c-9a67-5b9b9d3c9a11\nlogsource: {category: process_creation, product: windows}\n\
                    detection: {selection: {Image: a.exe}, condition: selection}\n";
        std::fs::write(at("elsewhere/rules/a.yml"), rule).unwrap();
        for name in ["policies/default.yml", "mappings/generated.yml"] {
            std::fs::copy(root.join("dataflows").join(name), at("plan").join(name)).unwrap();
        }
        let plan = Plan::load(&flow).unwrap();
        let copy = Copy::of(&flow, &plan).unwrap();
        let kept: Copy = serde_json::from_str(&serde_json::to_string(&copy).unwrap()).unwrap();
        std::fs::write(&flow, "name: another\n").unwrap();
        std::fs::remove_dir_all(at("elsewhere")).unwrap();
        let again = kept.plan(&at("plan"), &at("room")).unwrap();
        assert_eq!(
            (&again.hash, &again.folder, again.rules.all().len()),
            (&plan.hash, &plan.folder, plan.rules.all().len())
        );
        assert!(!at("room").exists());
    }
}
