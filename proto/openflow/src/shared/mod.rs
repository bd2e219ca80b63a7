//! Parts shared by all versions. Each version re-exports them under its own path, beside the parts that differ.

pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod desc;
pub(crate) mod error;
pub(crate) mod flow_mod;
pub(crate) mod message;
pub(crate) mod port;
