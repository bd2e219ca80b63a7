//! Machine of an instance without its driver, for the model of the hand-over (`tests/model`), which feeds it itself.
//! Not for apps.

pub use crate::instance::{
    CommitOutcome, Config, Input, Instance, Now, Output, RowSource, RuleWindow,
};
pub use crate::migration::Chain;
