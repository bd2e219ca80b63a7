//! Appends one message to a buffer and fills in its lengths.

use bytes::{BufMut, BytesMut};

use super::fixed::Fixed;
use super::tlv::{Padding, TlvHeader, padding};
use crate::error::EncodeError;

/// Encoder of one message, appended to a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut BytesMut,
    start: usize,
    problem: Option<EncodeError>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut BytesMut) -> Self {
        let start = out.len();
        Writer {
            out,
            start,
            problem: None,
        }
    }

    /// Position, counted from the start of the message.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.out.len() - self.start
    }

    #[inline]
    pub(crate) fn fixed<T: Fixed>(&mut self, value: &T) {
        self.out.extend_from_slice(value.as_bytes());
    }

    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    pub(crate) fn zeros(&mut self, n: usize) {
        // Padding is short: one store of constant length is faster than a loop.
        match n {
            0 => {}
            1..8 => {
                self.out.extend_from_slice(&[0; 8]);
                self.out.truncate(self.out.len() - 8 + n);
            }
            n => self.out.put_bytes(0, n),
        }
    }

    /// Appends zeros up to the next multiple of 8, counted from `from`.
    pub(crate) fn pad_from(&mut self, from: usize) {
        self.zeros(padding(self.position() - from));
    }

    /// Stores a length into the two bytes at `at`.
    #[inline]
    pub(crate) fn set_length(&mut self, what: &'static str, at: usize, length: usize) {
        let most = usize::from(u16::MAX);
        match u16::try_from(length) {
            Ok(value) => {
                let at = self.start + at;
                if let Some(field) = self.out.get_mut(at..at + 2) {
                    field.copy_from_slice(&value.to_be_bytes());
                }
            }
            Err(_) => self.refuse(EncodeError { what, length, most }),
        }
    }

    /// Records that the message cannot be encoded; the first error is kept.
    #[cold]
    pub(crate) fn refuse(&mut self, problem: EncodeError) {
        self.problem.get_or_insert(problem);
    }

    /// Appends a type-length-value whose length counts its padding.
    pub(crate) fn tlv(&mut self, what: &'static str, kind: u16, body: impl FnOnce(&mut Self)) {
        self.tlv_with(Padding::Counted, what, kind, body);
    }

    /// Appends a type-length-value with the given placement of padding.
    #[inline]
    pub(crate) fn tlv_with(
        &mut self,
        padding: Padding,
        what: &'static str,
        kind: u16,
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.position();
        self.fixed(&TlvHeader {
            kind: kind.into(),
            length: 0.into(),
        });
        body(self);
        if padding == Padding::Counted {
            self.pad_from(start);
        }
        self.set_length(what, start + 2, self.position() - start);
        if padding == Padding::Follows {
            self.pad_from(start);
        }
    }

    /// Ends the message. After an error the buffer is truncated to its state before the message.
    pub(crate) fn end(self) -> Result<(), EncodeError> {
        match self.problem {
            None => Ok(()),
            Some(problem) => {
                self.out.truncate(self.start);
                Err(problem)
            }
        }
    }
}
