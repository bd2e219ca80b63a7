//! What is alike in all versions, written once. A version's module takes from here what it has too, under its own name; what
//! differs stands there.

pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod desc;
pub(crate) mod error;
pub(crate) mod flow_mod;
pub(crate) mod message;
pub(crate) mod port;
