//! Backups: everything that the store holds at one revision, as lines of text that belong to no backend.
//!
//! ```text
//! CRC {"backup":{"format":1,"revision":7,"version":"0.1.0"}}     first
//! CRC {"lane":{"app":..,"node":..,"epoch":..,"cursor":[incarnation,n],"turn":..,"release":..}}
//! CRC {"space":{"app":..,"id":..,"schema":..,"truth":..,"owner":..,"mark":..,"modified":..,"keys":..}}
//! CRC {"used":{"app":..,"id":..}}                                an id that no keyspace gets again
//! CRC {"row":{"app":..,"space":..,"table":..,"key":..,"revision":..,"value":"JSON text"}}
//! CRC {"end":{"lines":41}}                                       last: without it the file is torn
//! ```
//!
//! CRC is eight hex digits: the CRC-32 of the line before's CRC (eight zeros before the first) and of this line's JSON. So
//! a line that was changed, lost, doubled or moved is told by its number. Leases are rows of Morpheus's records. A reader
//! refuses a newer format, and a kind of line that it does not know: nothing is left out silently.

mod line;
mod read;

pub(crate) use line::{Entry, Writer};
pub(crate) use read::{BackupError, Reader};

/// The format that is written, and the newest that is read.
pub(crate) const FORMAT: u32 = 1;

#[cfg(test)]
mod tests;
