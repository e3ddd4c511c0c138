//! Withdrawals: findings that were acted on early, and that late alerts undo, become a word of the log: what they joined is revised
//! by the epoch that takes the word, in recovery and replay by the same.
//!
//! In: what an epoch withdrew, once the log has the epoch. Out: an input of the log for each tenant, durable, under the key
//! `withdrawn/EPOCH/TENANT`: whoever computes the epoch again says the same under the same. State: none.

use std::collections::BTreeMap;

use super::journal::word;
use super::log::{Entry, LogError};
use super::scribe::Scribe;
use crate::ingest::live::Bell;
use crate::record::{Epoch, Finding, InputKind, Names, Withdrawal};

/// Where withdrawals are said.
pub struct Withdrawer {
    scribe: Scribe,
    bell: Bell,
}

impl Withdrawer {
    /// They are written by `scribe`, and whoever feeds the run hears `bell`.
    #[must_use]
    pub fn new(scribe: &Scribe, bell: &Bell) -> Withdrawer {
        Withdrawer { scribe: scribe.clone(), bell: bell.clone() }
    }

    /// Says what an epoch withdrew, in the order of its text; all of it is durable when this returns.
    pub(super) fn say(&self, epoch: Epoch, findings: &[Finding], names: &Names) -> Result<(), LogError> {
        let mut of: BTreeMap<String, Vec<Withdrawal>> = BTreeMap::new();
        for finding in findings {
            of.entry(names.get(finding.tenant)).or_default().push(Withdrawal {
                correlation: names.get(finding.correlation),
                group: names.get(finding.group),
                time: finding.time,
                alert_ids: finding.alert_ids.clone(),
            });
        }
        for (tenant, mut withdrawn) in of {
            withdrawn.sort_unstable();
            let body = word(&crate::record::Withdrawals { withdrawn }, &tenant);
            let key = Some(format!("withdrawn/{epoch}/{tenant}"));
            self.scribe.write(Entry::Input { kind: InputKind::Withdrawal.name(), body, key })?;
        }
        self.bell.ring();
        Ok(())
    }
}
