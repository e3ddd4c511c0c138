//! Learn: the archive -> a model: dataset, training, evaluation, and the promotion of what did well.
//!
//! [`dataset`] joins what happened to what was seen at the time; [`train`] learns from the older part; [`evaluate`] tells how
//! it does on the newer; [`card`] writes the model down; [`promote`] puts it to use.

pub mod dataset;
pub mod batch;
pub mod train;
pub mod calibrate;
pub mod evaluate;
pub mod metrics;
pub mod card;
pub mod promote;
#[cfg(test)]
mod tests;

pub use dataset::{Example, Split};
pub use evaluate::Evaluation;
pub use train::{TrainConfig, TrainError, Trained, train};
