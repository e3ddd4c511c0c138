//! Chosen: what an epoch takes, said before any of it is parsed: so another process knows what this one was at when it ended.

use super::super::journal::Effects;
use super::super::log::{LoggedEpoch, LoggedPart};
use super::super::run::Batch;
use super::{Live, Taken};
use crate::record::Epoch;

impl Live {
    /// What an epoch of up to `most` records is going to take. Where they lie is not known before they are parsed; its clock is that
    /// of an epoch which keeps them out.
    #[must_use]
    pub fn choose(&self, epoch: Epoch, most: usize) -> LoggedEpoch {
        let part = |(at, records): (usize, u64)| {
            let partition = &self.partitions[at];
            LoggedPart::unread(self.names.get(partition.name), partition.number, records)
        };
        let parts = self.allot(most).into_iter().map(part).collect();
        LoggedEpoch { epoch, settled: self.settled, last: false, parts }
    }

    /// The epoch that takes what was chosen. When the run is `ending`, the one after which no source is open is the last.
    ///
    /// # Errors
    /// Why another process cannot go on with what it reads for this one.
    pub fn batch_of(
        &mut self,
        chosen: &LoggedEpoch,
        effects: Effects,
        ending: bool,
    ) -> Result<Batch, String> {
        self.apply(&effects);
        let wanted = self.wanted(chosen)?;
        let mut taken = Taken::default();
        if let Some(others) = &mut self.others {
            others.epoch = chosen.epoch;
        }
        self.take_all(&wanted, effects.as_of, &mut taken)?;
        Ok(self.close_with(taken, effects, ending))
    }
}
