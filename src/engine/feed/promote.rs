//! Promote: another model is put to use between two epochs, and again where the log is read again.
//!
//! The log says so in an epoch that takes nothing else; all that was taken before is judged first. So which model judges what hangs
//! on the log alone.

use super::super::journal::Said;
use super::{Feed, FeedError};
use crate::rank::Ranker;
use crate::record::Epoch;

/// Finds a model by the name that the log and decisions have for it; or why it cannot be had.
pub type Models = Box<dyn Fn(&str) -> Result<Ranker, String>>;

impl Feed {
    /// Puts another model to use: what is judged from now on is judged by it. False where the run has failed.
    pub fn promote(&mut self, ranker: Ranker) -> Result<bool, FeedError> {
        Ok(self.epoch_of(&[Said::promotion(&ranker.version())], 0)? && self.run.promote(ranker))
    }

    /// The same for whoever begins with what is kept thereby: this run takes nothing more.
    pub fn promote_next(&mut self, model: &str) -> Result<(), FeedError> {
        self.leave_with(&[Said::promotion(model)])
    }

    /// Puts to use what the log has as put to use at the end of an epoch; false where the run has failed.
    pub(super) fn promoted(&mut self, epoch: Epoch, model: Option<String>) -> Result<bool, FeedError> {
        let Some(model) = model else { return Ok(true) };
        let ranker = (self.models)(&model).map_err(|why| FeedError::Model { epoch, model, why })?;
        Ok(self.run.promote(ranker))
    }
}
