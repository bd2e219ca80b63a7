//! What is wrong with bytes that are not OpenFlow, and with values that do not fit into it.

/// Bytes that are not what they should be: which field, where, and what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}: {problem}")]
pub struct DecodeError {
    /// The structure or field, in the specification's words.
    pub what: &'static str,
    /// From the start of the frame.
    pub offset: usize,
    /// What was found there.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The frame, or the list that the field is in, ends before it does.
    #[error("needs {needed} bytes, {left} are left")]
    Short {
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that there are.
        left: usize,
    },
    /// A length smaller than the smallest possible.
    #[error("length {found} is less than {least}")]
    TooSmall {
        /// The value on the wire.
        found: usize,
        /// The least that is allowed.
        least: usize,
    },
    /// A length that can only have one value, and has another.
    #[error("length {found} where it is {expected}")]
    Length {
        /// The value on the wire.
        found: usize,
        /// The only right one.
        expected: usize,
    },
    /// A length that is no multiple of what it must be a multiple of.
    #[error("length {found} is not a multiple of {of}")]
    Unaligned {
        /// The value on the wire.
        found: usize,
        /// What it must be a multiple of.
        of: usize,
    },
    /// Bytes after the end of a structure that has nothing after it.
    #[error("{found} bytes follow its end")]
    Trailing {
        /// How many.
        found: usize,
    },
    /// A version that is not known here, or not the one that was to be read.
    #[error("version {found} is not supported")]
    Version {
        /// The value on the wire.
        found: u8,
    },
    /// A value that the specification does not allow.
    #[error("value {found} is not allowed")]
    Value {
        /// The value on the wire.
        found: u64,
    },
}

impl DecodeError {
    pub(crate) const fn new(what: &'static str, offset: usize, problem: Problem) -> Self {
        DecodeError {
            what,
            offset,
            problem,
        }
    }

    pub(crate) const fn version(found: u8) -> Self {
        Self::new("header.version", 0, Problem::Version { found })
    }

    pub(crate) const fn value(what: &'static str, offset: usize, found: u64) -> Self {
        Self::new(what, offset, Problem::Value { found })
    }
}

/// A value that cannot be written: one of its lengths does not fit into its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: a length of {length} does not fit (at most {most})")]
pub struct EncodeError {
    /// The structure, in the specification's words.
    pub what: &'static str,
    /// How long it would be.
    pub length: usize,
    /// How long it may be.
    pub most: usize,
}
