//! Backups: everything in the store at one revision, as lines of text that are the same for every backend.
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
//! CRC is eight hex digits: the CRC-32 of the CRC of the line before (eight zeros before the first) and of this line's
//! JSON. So a line that was changed, lost, doubled or moved is reported by its number. Leases are rows of Morpheus's
//! records. A reader refuses a newer format and an unknown kind of line, so that nothing is left out silently.

mod line;
mod read;

pub(crate) use line::{BackupWriter, Entry};
pub(crate) use read::{BackupError, BackupReader};

#[cfg(test)]
mod tests;
