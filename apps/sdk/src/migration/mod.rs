//! Migrations between neighbouring schema versions of an app's rows, in both directions.

mod mapping;
mod rows;
mod steps;
mod typed;

pub use mapping::Migration;
pub(crate) use rows::GroupMembers;
pub use rows::Rows;
pub(crate) use steps::Step;
pub use steps::{Chain, Migrations, down, up};
pub use typed::group_by;
