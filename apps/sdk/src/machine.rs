//! The machine of an instance as it is, without its driver: for the model of the hand-over (`tests/model`), which feeds it
//! itself. Nothing for apps.

pub use crate::instance::{Config, Input, Instance, Now, Outcome, Output, Source};
pub use crate::migration::Chain;
