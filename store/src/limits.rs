//! Limits of a transaction. Beyond them the store answers `TOO_LARGE`, and sending it again does not help.

/// Bytes of a row's table and key together.
pub const KEY: usize = 1 << 10;
/// Bytes of a row's value.
pub const VALUE: usize = 1 << 20;
/// Bytes of an encoded transaction.
pub const TRANSACTION: usize = 4 << 20;
/// Operations and expectations of a transaction, together.
pub const OPS: usize = 10_000;
/// Bytes of any other name: app, node, release, owner.
pub const NAME: usize = 128;
/// Bytes of one message on the wire. A transaction at its limit fits easily, also when it is sent to a watcher. An
/// overlarge one still arrives, so that it is refused with a reason and not by a broken stream.
pub const MESSAGE: usize = 16 << 20;
/// Rows that may be bound to one lease.
pub const LEASED: usize = 256;
/// Time to live of a lease in milliseconds: 100 ms to a day.
pub const TTL_MS: std::ops::RangeInclusive<u32> = 100..=86_400_000;
