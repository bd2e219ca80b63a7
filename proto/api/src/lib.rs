//! Interfaces between Morpheus's processes: protobuf definitions, and the code that tonic generates from them.
//!
//! | module | who speaks it | where |
//! |---|---|---|
//! | [`management`] | people and programs to morphd | `RUN_DIR/api.sock` |
//! | [`supervisor`] | morphd to the proxy; morphd and instances through it | `RUN_DIR/proxy.sock` |
//! | [`session`] | app instances and the proxy | `RUN_DIR/sessions.sock` |
//! | [`store`] | everyone to morph-stored | `RUN_DIR/store.sock` |
//!
//! The `.proto` files carry the documentation. Changes are additive: a number, once used, keeps its meaning.

#![warn(missing_docs)]

pub mod alarm;
mod beside;
pub mod check;
pub mod cookie;
pub mod deadlines;
pub mod description;
pub mod entry;
pub mod fail;
pub mod lock;
#[cfg(feature = "log")]
pub mod log;
pub mod manifest;
mod record;
mod repeats;
mod role;
mod seq;
pub mod timer;
pub mod unix;
pub mod verification;

pub use beside::is_beside_schema;
pub use record::{Record, RecordError, Records, put_control, put_message};
pub use repeats::Repeats;
pub use role::Role;

#[allow(missing_docs, clippy::all, unreachable_pub, unused_qualifications)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
}

/// Management API of morphd (`management.proto`).
pub use generated::morpheus::management::v1 as management;
/// Sessions between an app instance and the proxy (`session.proto`).
pub use generated::morpheus::session::v1 as session;
/// Versioned store of all state (`store.proto`).
pub use generated::morpheus::store::v1 as store;
/// Messages between morphd, the proxy and, through it, the instances (`supervisor.proto`).
pub use generated::morpheus::supervisor::v1 as supervisor;

/// App under which Morpheus's own records are stored, in keyspace 1. No real app may have this name.
pub const RECORDS: &str = "morpheus";

/// Version of the protocol between app instances and the proxy (`session.proto`), which an instance names in its
/// `Hello`. The proxy refuses any other version. Raise it with every change that older releases cannot handle.
pub const PROTOCOL: u32 = 1;

/// Number of calls given up by a peer that a server of ours may find when it works again after a hang (SIGSTOP, a
/// machine that was suspended). Beyond it HTTP/2 closes the connection and all other calls on it, as a defence
/// against strangers (CVE-2023-44487); its default of 20 is a few seconds of `morphctl status`.
pub const ABANDONED_CALLS: usize = 1 << 16;

/// Exit status of an instance whose session was refused for good, so that starting it again changes nothing
/// (`EX_PROTOCOL` of sysexits.h).
pub const EXIT_PROTOCOL: u8 = 76;

/// Descriptors of all `.proto` files, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
