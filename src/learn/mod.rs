//! Learn: the archive -> a model: dataset, training, evaluation, and the promotion of what did well.
//!
//! [`gather`] reads archives and [`dataset`] joins what happened to what was seen at the time; [`train`] learns from the older part; [`evaluate`] tells how
//! it does on the newer; [`card`] writes the model down; [`promote`] puts it to use.

pub mod dataset;
pub mod gather;
pub mod batch;
pub mod train;
pub mod calibrate;
pub mod evaluate;
pub mod metrics;
pub mod grouping;
pub mod card;
pub mod promote;
#[cfg(test)]
mod tests;

pub use dataset::{Example, Split};
pub use evaluate::{Evaluation, evaluate};
pub use gather::{Bounds, Gathered, gather};
pub use train::{TrainConfig, TrainError, Trained, train, train_told};
