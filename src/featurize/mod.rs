//! Featurize: an incident's version -> what the model sees of it.

pub mod features;

pub use features::features_of;
