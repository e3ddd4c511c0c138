//! The folder `schemas/` says what the code says.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{done, quell, root};
use serde_json::Value;

fn read(folder: &Path) -> BTreeMap<String, Value> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let file = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).expect("a file");
        let schema = serde_json::from_str(&text).expect("JSON");
        (entry.file_name().to_string_lossy().into_owned(), schema)
    };
    entries.map(|entry| file(entry.expect("an entry"))).collect()
}

#[test]
fn the_folder_says_what_the_code_says() {
    let folder = tempfile::tempdir().expect("a folder");
    done(quell().args(["schema", "--write"]).arg(folder.path()));
    let (told, kept) = (read(folder.path()), read(&root().join("schemas")));
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&told), names(&kept), "`quell schema --write schemas` brings the folder up to date");
    for (name, schema) in &told {
        assert_eq!(
            schema, &kept[name],
            "{name} differs: `quell schema --write schemas` brings it up to date"
        );
    }
}

#[test]
fn each_property_is_described() {
    for (name, schema) in read(&root().join("schemas")) {
        assert!(schema["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}");
        for (property, about) in schema["properties"].as_object().expect("an object") {
            let described = about["description"].as_str().is_some_and(|text| !text.is_empty());
            assert!(described || name == "playbook.json", "{property} of {name}");
        }
    }
}
