//! What is alike in all versions, written once. A version's module takes from here what it has too, under its own name; what
//! differs stands there.

pub(crate) mod error;
