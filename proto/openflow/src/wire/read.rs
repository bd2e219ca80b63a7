//! Bounds-checked cursor over a frame.

use bytes::Bytes;

use super::fixed::Fixed;
use super::tlv::{ALIGN, Padding, TlvHeader, padding};
use crate::error::{DecodeError, Problem, SkippedRule};

/// Position within a frame, and the end of the structure that is being decoded. Copies are cheap views.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(frame: &'a Bytes) -> Self {
        Reader {
            frame,
            at: 0,
            end: frame.len(),
        }
    }

    /// Position, counted from the start of the frame.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    pub(crate) fn slice(&mut self, what: &'static str, n: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.left();
        if n > left {
            let short = Problem::Short { needed: n, left };
            return Err(DecodeError::new(what, self.at, short));
        }
        let slice = &self.frame[self.at..self.at + n];
        self.at += n;
        Ok(slice)
    }

    /// Takes the next bytes as a view of a fixed structure.
    pub(crate) fn fixed<T: Fixed>(&mut self) -> Result<&'a T, DecodeError> {
        let offset = self.at;
        let needed = size_of::<T>();
        let bytes = self.slice(T::NAME, needed)?;
        T::ref_from_bytes(bytes).map_err(|_| {
            let left = bytes.len();
            DecodeError::new(T::NAME, offset, Problem::Short { needed, left })
        })
    }

    /// Remaining bytes, borrowed from the frame.
    pub(crate) fn as_slice(&self) -> &'a [u8] {
        &self.frame[self.at..self.end]
    }

    /// Takes the remaining bytes, as a shared slice of the frame.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    pub(crate) fn skip(&mut self, what: &'static str, n: usize) -> Result<(), DecodeError> {
        self.slice(what, n).map(drop)
    }

    /// Takes the next `n` bytes as a reader of their own.
    pub(crate) fn sub(&mut self, what: &'static str, n: usize) -> Result<Self, DecodeError> {
        let at = self.at;
        self.slice(what, n)?;
        Ok(Reader {
            frame: self.frame,
            at,
            end: self.at,
        })
    }

    /// Takes the next structure, whose fixed part holds its length. Returns the fixed part and a reader of the
    /// rest. `at` is the position of the length within the fixed part.
    pub(crate) fn entry<T: Fixed>(
        &mut self,
        what: &'static str,
        at: usize,
        length: fn(&T) -> u16,
    ) -> Result<(&'a T, Self), DecodeError> {
        let offset = self.at + at;
        let fixed = { *self }.fixed::<T>()?;
        let (found, least) = (usize::from(length(fixed)), size_of::<T>());
        if found < least {
            let small = Problem::TooSmall { found, least };
            return Err(DecodeError::new(what, offset, small));
        }
        let mut entry = self.sub(what, found)?;
        entry.skip(T::NAME, least)?;
        Ok((fixed, entry))
    }

    /// Decodes list elements up to the end. Every decoder takes at least one byte, so the loop ends.
    pub(crate) fn all<T>(
        &mut self,
        decode: fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut elements = Vec::new();
        while !self.is_empty() {
            elements.push(decode(self)?);
        }
        Ok(elements)
    }

    /// Decodes rules up to the end. All begin with their length and their table. One that cannot be decoded is left out; one
    /// whose length is impossible ends the list.
    pub(crate) fn rules<T>(
        &mut self,
        decode: fn(&mut Self) -> Result<T, DecodeError>,
        skipped: &mut Vec<SkippedRule>,
    ) -> Vec<T> {
        let mut rules = Vec::new();
        while !self.is_empty() {
            let mut ahead = *self;
            match decode(&mut ahead) {
                Ok(rule) => {
                    rules.push(rule);
                    *self = ahead;
                }
                Err(error) => {
                    let (length, table_id) = match self.as_slice() {
                        [l1, l0, table_id, ..] => (u16::from_be_bytes([*l1, *l0]), *table_id),
                        _ => (0, 0),
                    };
                    skipped.push(SkippedRule { table_id, error });
                    let length = usize::from(length);
                    if length < ALIGN || self.skip("length", length).is_err() {
                        self.rest();
                    }
                }
            }
        }
        rules
    }

    /// Fails if bytes remain.
    pub(crate) fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            found => Err(DecodeError::new(what, self.at, Problem::Trailing { found })),
        }
    }
}

/// Type-length-value without its header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) kind: u16,
    /// Position of its header in the frame.
    pub(crate) offset: usize,
    /// Length in bytes, header included.
    pub(crate) length: usize,
    pub(crate) body: Reader<'a>,
}

/// Iterator over type-length-values. Ends after the first error; each step advances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tlvs<'a> {
    reader: Reader<'a>,
    what: &'static str,
    padding: Padding,
}

impl<'a> Tlvs<'a> {
    pub(crate) fn aligned(what: &'static str, reader: Reader<'a>) -> Self {
        Tlvs {
            reader,
            what,
            padding: Padding::Counted,
        }
    }

    pub(crate) fn padded(what: &'static str, reader: Reader<'a>) -> Self {
        Tlvs {
            reader,
            what,
            padding: Padding::Follows,
        }
    }

    pub(crate) fn packed(what: &'static str, reader: Reader<'a>) -> Self {
        Tlvs {
            reader,
            what,
            padding: Padding::None,
        }
    }

    fn take(&mut self) -> Result<Tlv<'a>, DecodeError> {
        let what = self.what;
        let header_length = size_of::<TlvHeader>();
        let offset = self.reader.offset();
        let wrong = |problem| DecodeError::new(what, offset + 2, problem);
        let mut ahead = self.reader;
        let header = ahead
            .fixed::<TlvHeader>()
            .map_err(|e| DecodeError { what, ..e })?;
        let length = usize::from(header.length());
        let counted = self.padding == Padding::Counted;
        let least = if counted { ALIGN } else { header_length };
        if length < least {
            let found = length;
            return Err(wrong(Problem::TooSmall { found, least }));
        }
        if counted && padding(length) != 0 {
            let found = length;
            return Err(wrong(Problem::Unaligned { found, of: ALIGN }));
        }
        let body = ahead.sub(what, length - header_length)?;
        if self.padding == Padding::Follows {
            ahead.skip(what, padding(length).min(ahead.left()))?;
        }
        self.reader = ahead;
        Ok(Tlv {
            kind: header.kind(),
            offset,
            length,
            body,
        })
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let next = self.take();
        if next.is_err() {
            self.reader.rest();
        }
        Some(next)
    }
}
