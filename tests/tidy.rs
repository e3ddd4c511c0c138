//! The house rules that a test can hold: how files begin, how long they are, which stage may see which, and which
//! folder may use which library.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 60;

/// The stages in the order in which data travels; a stage sees only those before it. `act` hands its receipts to
/// `settle` in the same breath: for this rule `settle` stands before it.
const STAGES: [&str; 14] = [
    "record",
    "plan",
    "kafka",
    "flow",
    "ingest",
    "normalize",
    "correlate",
    "enrich",
    "featurize",
    "rank",
    "decide",
    "settle",
    "act",
    "archive",
];
/// The edges see everything before them.
const EDGES: [&str; 5] = ["learn", "cluster", "engine", "replay", "cli"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let folders = ["src", "tests", "benches"].map(|folder| root.join(folder));
    let files = folders.iter().filter(|folder| folder.is_dir()).flat_map(|folder| rust_files(folder));
    files
        .map(|file| {
            (file.strip_prefix(&root).unwrap().display().to_string(), fs::read_to_string(&file).unwrap())
        })
        .collect()
}

#[test]
fn every_file_says_first_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "these files do not begin with `//! `: {silent:#?}");
}

#[test]
fn no_file_is_two_files() {
    let long: Vec<(String, usize)> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, n)| *n > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:#?}");
}

#[test]
fn no_function_is_two_functions() {
    let mut long = Vec::new();
    for (name, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let word = line.trim_start();
            let starts = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "async fn ",
                "pub async fn ",
                "const fn ",
            ];
            if !starts.iter().any(|start| word.starts_with(start)) {
                continue;
            }
            let close = format!("{}}}", " ".repeat(indent));
            let Some(end) = lines[at..].iter().position(|line| *line == close) else { continue };
            // The signature is not the body.
            let body =
                lines[at..at + end].iter().position(|line| line.trim_end().ends_with('{')).unwrap_or(0);
            if end - body > FUNCTION_LINES_MAX {
                long.push(format!("{name}:{}: {} lines", at + 1, end - body));
            }
        }
    }
    assert!(long.is_empty(), "functions longer than {FUNCTION_LINES_MAX} lines: {long:#?}");
}

/// Whether a file is compiled for tests only.
fn is_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("/fixture.rs")
}

/// The crate's folders that a file names, outside its tests.
fn seen(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.match_indices("crate::")
        .map(|(at, found)| {
            let rest = &code[at + found.len()..];
            rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
        })
        .collect()
}

#[test]
fn a_stage_sees_only_earlier_stages() {
    let place = |folder: &str| STAGES.iter().position(|stage| *stage == folder);
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some(folder) =
            name.strip_prefix("src/").and_then(|rest| rest.split_once('/')).map(|(folder, _)| folder)
        else {
            continue;
        };
        let Some(own) = place(folder).filter(|_| !is_test(&name)) else { continue };
        for other in seen(&text) {
            let later = place(&other).is_some_and(|other| other > own);
            if later || EDGES.contains(&other.as_str()) {
                wrong.push(format!("{name} sees {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "stages that see later ones: {wrong:#?}");
}

#[test]
fn libraries_have_homes() {
    let homes: [(&str, &[&str]); 9] = [
        ("burn::", &["src/rank/", "src/learn/", "benches/", "tests/"]),
        ("parquet::", &["src/ingest/", "src/archive/", "benches/", "tests/"]),
        ("rusqlite::", &["src/act/", "src/engine/", "tests/"]),
        ("reqwest::", &["src/act/", "tests/"]),
        ("clap::", &["src/cli/"]),
        ("rdkafka::", &["src/kafka/", "src/ingest/", "src/engine/", "benches/", "tests/"]),
        ("rsigma_eval::", &["src/plan/", "src/normalize/"]),
        ("rsigma_parser::", &["src/plan/"]),
        ("differential_dataflow::", &["src/flow/", "src/enrich/", "src/engine/", "tests/"]),
    ];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (library, folders) in homes {
            let uses = text.lines().any(|line| line.trim_start().starts_with(&format!("use {library}")));
            if uses && !folders.iter().any(|folder| name.starts_with(folder)) {
                wrong.push(format!("{name} uses {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "libraries away from home: {wrong:#?}");
}

#[test]
fn between_normalize_and_decide_nobody_reads_a_clock_or_a_disk() {
    let pure = ["correlate", "enrich", "featurize", "decide"];
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let folder =
            name.strip_prefix("src/").and_then(|rest| rest.split_once('/')).map(|(folder, _)| folder);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        // Context tables are read at the edge of the stage that they belong to.
        if folder.is_some_and(|folder| pure.contains(&folder))
            && name != "src/enrich/tables.rs"
            && !is_test(&name)
        {
            for forbidden in ["std::fs", "std::net", "SystemTime", "Instant", "rand::"] {
                if code.contains(forbidden) {
                    wrong.push(format!("{name} has {forbidden}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "impure stages: {wrong:#?}");
}

#[test]
fn commands_print_through_one_piece() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let prints = |line: &str| {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '!');
            words.into_iter().any(|word| matches!(word, "println!" | "print!"))
        };
        if name.starts_with("src/cli/") && name != "src/cli/out.rs" && text.lines().any(prints) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "`say!` tells what cannot be written; these do not use it: {wrong:#?}");
}

#[test]
fn nothing_names_a_machines_path() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            let own = name == "tests/tidy.rs";
            if !own && ["/root/", "/home/", "/work/"].iter().any(|path| line.contains(path)) {
                wrong.push(format!("{name}:{}: {line}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "paths of one machine: {wrong:#?}");
}
