//! Receipts: what executors answered, as rows of the table `inputs`, and an archive's as an executor that answers so again.

use std::io;

use super::worded;
use crate::act::{Receipt, Recorded};
use crate::archive::Reader;
use crate::record::input::Reported;
use crate::record::{Epoch, InputKind, InputRow, Sym};

/// The row of a receipt.
#[must_use]
pub fn received((receipt, tenant): &(Receipt, Sym)) -> InputRow {
    let body = serde_json::to_string(receipt).unwrap_or_default();
    InputRow { epoch: 0, tick: receipt.tick, tenant: *tenant, kind: InputKind::Receipt, body }
}

/// Whether an input is what came of an order that had been given before, rather than what the desk heard of one.
pub(crate) fn is_reported(kind: InputKind, body: &str) -> bool {
    kind == InputKind::Receipt && worded::<Reported>(body).is_ok()
}

/// An archive's receipts, as an executor that calls nobody.
pub fn recorded(archive: &Reader) -> io::Result<Recorded> {
    let mut receipts: Vec<(Epoch, Receipt)> = Vec::new();
    for line in archive.inputs(None)? {
        let line = line?;
        if line.kind == InputKind::Receipt && !is_reported(line.kind, &line.body) {
            let receipt = serde_json::from_str(&line.body).map_err(|error| {
                io::Error::other(format!("a recorded receipt cannot be understood: {error}"))
            })?;
            receipts.push((line.epoch, receipt));
        }
    }
    // Within an epoch they were heard in the order of their ticks, as they lie.
    receipts.sort_by_key(|(epoch, _)| *epoch);
    Ok(Recorded::of(receipts.into_iter().map(|(_, receipt)| receipt)))
}
