//! YAML with the place of what is wrong in it.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::fault::Fault;

/// Reads one document; what is wrong comes with its line.
pub fn parse<T: DeserializeOwned>(file: &Path, text: &str, cure: &str) -> Result<T, Vec<Fault>> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
        let what = error.without_snippet().to_string();
        vec![Fault { file: file.to_owned(), line, what, cure: cure.to_owned() }]
    })
}
