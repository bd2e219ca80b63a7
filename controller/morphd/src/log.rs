//! Logs of the child processes: files of bounded size to which each child appends its standard error.
//!
//! A pipe in their place would kill the child with EPIPE when morphd dies. The files are opened with O_APPEND, because
//! then a child continues at the new end of a file that was truncated.

mod follow;
mod rotate;
mod tail;

pub use follow::Follower;
pub use rotate::{append, length, open, path, rotate_all};
pub use tail::{last_message, tail_until};
