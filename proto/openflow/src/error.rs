//! Errors of decoding (invalid frames) and of encoding (values too long for their length field).

/// Invalid frame: the field, its position, and the invalid value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset}: {problem}")]
pub struct DecodeError {
    /// Structure or field, as in `header.length`, named as in the specification.
    pub what: &'static str,
    /// Byte position of the field, counted from the start of the frame.
    pub offset: usize,
    /// Problem found in that field.
    pub problem: Problem,
}

/// Kinds of problems that a field can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Field longer than the rest of the frame or of the enclosing list.
    #[error("needs {needed} bytes, {left} are left")]
    Short {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes left in the frame or list.
        left: usize,
    },
    /// Length below the minimum of its structure.
    #[error("length {found} is less than {least}")]
    TooSmall {
        /// Length found on the wire.
        found: usize,
        /// Smallest valid length, in bytes.
        least: usize,
    },
    /// Length that differs from the only valid one.
    #[error("length {found}, expected {expected}")]
    Length {
        /// Length found on the wire.
        found: usize,
        /// Only valid length, in bytes.
        expected: usize,
    },
    /// Length that is not a multiple of the alignment.
    #[error("length {found} is not a multiple of {of}")]
    Unaligned {
        /// Length found on the wire.
        found: usize,
        /// Required alignment, in bytes.
        of: usize,
    },
    /// Bytes after the end of a structure that must end there.
    #[error("{found} unexpected bytes at the end")]
    Trailing {
        /// Number of surplus bytes.
        found: usize,
    },
    /// Version that is unsupported, or not the one that the decoder is for.
    #[error("version {found} is not supported")]
    Version {
        /// Version found on the wire.
        found: u8,
    },
    /// Value outside those that the specification allows.
    #[error("value {found} is not allowed")]
    Value {
        /// Value found on the wire.
        found: u64,
    },
}

/// Rule in a reply that cannot be decoded, and is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedRule {
    /// Table that holds the rule.
    pub table_id: u8,
    /// Error that ended the decoding of the rule.
    pub error: DecodeError,
}

/// Decodes as `lenient` does; a rule that this leaves out is an error.
pub(crate) fn strictly<T>(
    lenient: impl FnOnce(&mut Vec<SkippedRule>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let mut skipped = Vec::new();
    let decoded = lenient(&mut skipped)?;
    match skipped.first() {
        None => Ok(decoded),
        Some(rule) => Err(rule.error),
    }
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

/// Value that cannot be encoded, because one of its lengths exceeds its length field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is too long: {length} bytes, at most {most} fit")]
pub struct EncodeError {
    /// Structure that is too long, named as in the specification.
    pub what: &'static str,
    /// Length that the structure would have, in bytes.
    pub length: usize,
    /// Maximum length, in bytes.
    pub most: usize,
}
