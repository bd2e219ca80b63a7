//! The ledger: an app for the tests of Morpheus. It records every numbered packet that it applied, for each switch and
//! in order, and answers each with one packet-out that bears the number.
//!
//! 1. A packet that came in by [`PORT`] of a switch is punted; all others go to the next app.
//! 2. Its number goes to the end of the switch's book. A book is a list of runs of consecutive numbers: whatever is
//!    lost, doubled or out of order ends a run, so nothing is forgotten and a book of millions takes one row.
//! 3. The packet goes out again by its ingress port.
//! 4. Other events are counted, and so are packets reported as lost: also by the place in the book where that was told.
//! 5. A switch gets as many further rules as its row in `flows` says: `flows/DPID = [number, port]`. They match packets of ports
//!    that it does not have. There are 100 000 of them at most, and a row that asks for more has an alarm. A numbered packet is
//!    followed by as many others as its switch's row in `copies` says: `copies/DPID = [number, bytes]`.
//!
//! The releases differ in how they store the books (`books`): schema 1 has a row a switch, schema 2 a row a run.

mod app;
mod books;
mod frame;
mod slow;
#[cfg(test)]
mod tests;

pub use app::{FLOW_PORTS, Ledger, MOST_FLOWS, OTHER_PORT, PORT};
pub use books::{Books, COPIES, COUNTS, FLOWS, LOSSES, Rows1, Rows2, Run, V1ToV2, append};
pub use frame::{ETHERTYPE, is_marked, number};
pub use slow::Slow;
