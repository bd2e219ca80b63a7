//! Padding, and the header of type-length-values.

use super::fixed::fixed;

/// Alignment of structures and lists on the wire, in bytes.
pub(crate) const ALIGN: usize = 8;

/// Number of padding bytes after `length` bytes.
pub(crate) const fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGN) - length
}

fixed! {
    /// Common header of actions, instructions, hello elements and properties.
    pub(crate) struct TlvHeader = "tlv" {
        pub(crate) kind: u16,
        pub(crate) length: u16,
    }
}

/// Placement of the padding of a type-length-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Padding is included in the length, which is a multiple of 8.
    Counted,
    /// Padding follows without being counted, and may be missing at the end of a list.
    Follows,
    /// No padding at all.
    None,
}
