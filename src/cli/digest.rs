//! `quell digest`: a hash of each table's meaning; two runs are equal when these are.

use std::path::PathBuf;

use super::{Failure, Output, setup};
use crate::archive::digest;

/// Print a hash of each table's meaning: order, file layout and the machine's clock left out.
///
/// Example: quell digest archive/ && quell digest other/   # equal lines: equal results
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The archive.
    archive: PathBuf,
    /// Cover everything: epochs, provisional rows, wall times.
    #[arg(long)]
    log: bool,
    /// How to report.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    setup::archive(&args.archive)?;
    let tables = digest(&args.archive, args.log)?;
    match args.output {
        Output::Text => tables.iter().for_each(|table| say!("{table}")),
        Output::Json => {
            let table = |table: &crate::archive::TableDigest| {
                let text = table.to_string();
                let hash = text.split_whitespace().last().unwrap_or_default().to_owned();
                (table.table.to_owned(), serde_json::json!({ "rows": table.rows, "hash": hash }))
            };
            let all: serde_json::Map<String, serde_json::Value> = tables.iter().map(table).collect();
            say!("{}", serde_json::Value::Object(all));
        }
    }
    Ok(())
}
