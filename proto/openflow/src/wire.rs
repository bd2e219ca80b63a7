//! Where bounds live: one reader and one writer, and fixed parts as zerocopy structs.
//!
//! All decoders take what they need from a [`Reader`], which never gives more than there is; all encoders put what
//! they have into a [`Writer`], which notes a length that does not fit into its field.

use bytes::{BufMut, Bytes, BytesMut};
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::addr::MacAddr;
use crate::error::{DecodeError, EncodeError, Problem};

/// What structures and lists are aligned to on the wire.
pub(crate) const ALIGN: usize = 8;

/// How many bytes of padding follow `length` bytes.
pub(crate) const fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGN) - length
}

/// A host value and how it lies in a zerocopy struct. Public structs name it, so it is public; its module is not.
#[allow(unreachable_pub)]
pub trait Wire {
    /// Big-endian, unaligned.
    type Repr;
    /// The host value.
    fn get(repr: &Self::Repr) -> Self;
    /// As it lies on the wire.
    fn put(self) -> Self::Repr;
}

macro_rules! wire {
    ($($host:ty => $repr:ty: $get:expr, $put:expr;)*) => {$(
        impl Wire for $host {
            type Repr = $repr;
            #[inline]
            fn get(repr: &Self::Repr) -> Self {
                $get(*repr)
            }
            #[inline]
            fn put(self) -> Self::Repr {
                $put(self)
            }
        }
    )*};
}

wire! {
    u8 => u8: |v| v, |v| v;
    u16 => U16: |v: U16| v.get(), U16::new;
    u32 => U32: |v: U32| v.get(), U32::new;
    u64 => U64: |v: U64| v.get(), U64::new;
    MacAddr => MacAddr: |v| v, |v| v;
    [u32; 2] => [U32; 2]: |v: [U32; 2]| v.map(U32::get), |v: [u32; 2]| v.map(U32::new);
    [u32; 4] => [U32; 4]: |v: [U32; 4]| v.map(U32::get), |v: [u32; 4]| v.map(U32::new);
}

impl<const N: usize> Wire for [u8; N] {
    type Repr = [u8; N];
    fn get(repr: &Self::Repr) -> Self {
        *repr
    }
    fn put(self) -> Self::Repr {
        self
    }
}

/// A zerocopy struct with the specification's name, for errors.
pub(crate) trait Fixed: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned {
    const NAME: &'static str;
}

/// Declares the fixed part of a structure: fields in wire order, each with a getter of its host value.
macro_rules! fixed {
    ($(#[$meta:meta])* $vis:vis struct $name:ident = $what:literal {
        $($get:vis $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes)]
        #[derive(zerocopy::KnownLayout, zerocopy::Immutable, zerocopy::Unaligned)]
        #[repr(C)]
        $vis struct $name {
            $(pub(crate) $field: <$type as $crate::wire::Wire>::Repr,)*
        }

        impl $crate::wire::Fixed for $name {
            const NAME: &'static str = $what;
        }

        #[allow(dead_code)]
        impl $name {
            $(
                #[doc = concat!("`", stringify!($field), "`, in the host's byte order.")]
                #[inline]
                $get fn $field(&self) -> $type {
                    <$type as $crate::wire::Wire>::get(&self.$field)
                }
            )*
        }
    };
}
pub(crate) use fixed;

/// Declares a structure that is nothing but its fixed part, as a value and as it lies on the wire: fields in wire order,
/// each with the padding that follows it.
macro_rules! plain {
    ($(#[$meta:meta])* pub struct $name:ident: $fixed:ident = $what:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty $(, $pad:ident: $n:literal)?;)*
    }) => {
        $crate::wire::fixed! {
            /// As it lies on the wire.
            struct $fixed = $what {
                $($field: $type, $($pad: [u8; $n],)?)*
            }
        }

        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl $name {
            pub(crate) fn decode(
                reader: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::error::DecodeError> {
                let fixed = reader.fixed::<$fixed>()?;
                Ok($name { $($field: fixed.$field(),)* })
            }

            pub(crate) fn encode(&self, w: &mut $crate::wire::Writer<'_>) {
                w.fixed(&$fixed {
                    $(
                        $field: $crate::wire::Wire::put(self.$field),
                        $($pad: [0; $n],)?
                    )*
                });
            }
        }
    };
}
pub(crate) use plain;

/// A place within a frame, and the end of the structure that is being read. Copies are cheap: they are views.
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

    /// From the start of the frame.
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

    /// The next bytes as a view of a fixed structure.
    pub(crate) fn fixed<T: Fixed>(&mut self) -> Result<&'a T, DecodeError> {
        let offset = self.at;
        let needed = size_of::<T>();
        let bytes = self.slice(T::NAME, needed)?;
        T::ref_from_bytes(bytes).map_err(|_| {
            let left = bytes.len();
            DecodeError::new(T::NAME, offset, Problem::Short { needed, left })
        })
    }

    /// All that is left, in the frame.
    pub(crate) fn as_slice(&self) -> &'a [u8] {
        &self.frame[self.at..self.end]
    }

    /// All that is left, shared with the frame.
    pub(crate) fn rest(&mut self) -> Bytes {
        let rest = self.frame.slice(self.at..self.end);
        self.at = self.end;
        rest
    }

    pub(crate) fn skip(&mut self, what: &'static str, n: usize) -> Result<(), DecodeError> {
        self.slice(what, n).map(drop)
    }

    /// A reader of just the next bytes, which are passed over here.
    pub(crate) fn sub(&mut self, what: &'static str, n: usize) -> Result<Self, DecodeError> {
        let at = self.at;
        self.slice(what, n)?;
        Ok(Reader {
            frame: self.frame,
            at,
            end: self.at,
        })
    }

    /// The next structure, as long as its fixed part says: this part, and a reader of what follows it. `at` is where in
    /// the fixed part the length is.
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

    /// Elements of a list, up to the end. Each takes at least a byte, so it ends.
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

    /// Nothing may be left.
    pub(crate) fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            found => Err(DecodeError::new(what, self.at, Problem::Trailing { found })),
        }
    }
}

fixed! {
    /// What actions, instructions, hello elements and properties begin with.
    pub(crate) struct TlvHeader = "tlv" {
        pub(crate) kind: u16,
        pub(crate) length: u16,
    }
}

/// One type-length-value, its header taken off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tlv<'a> {
    pub(crate) kind: u16,
    /// Where its header is.
    pub(crate) offset: usize,
    /// Header included.
    pub(crate) length: usize,
    pub(crate) body: Reader<'a>,
}

/// Where the padding of a type-length-value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Padding {
    /// Its length counts it, and is aligned.
    Counted,
    /// It follows uncounted, and may be missing at the end.
    Follows,
    /// There is none.
    None,
}

/// Walks over type-length-values. Ends at the first error, and always goes forward.
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

/// Appends one message to a buffer.
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

    /// From the start of the message.
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
        self.out.put_bytes(0, n);
    }

    /// Zeros up to the next multiple of 8, counted from a position.
    pub(crate) fn pad_from(&mut self, from: usize) {
        self.zeros(padding(self.position() - from));
    }

    /// Writes into the two bytes at a position how long something is.
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

    /// Notes that the message cannot be written; the first reason counts.
    #[cold]
    pub(crate) fn refuse(&mut self, problem: EncodeError) {
        self.problem.get_or_insert(problem);
    }

    /// A type-length-value whose length counts its padding.
    pub(crate) fn tlv(&mut self, what: &'static str, kind: u16, body: impl FnOnce(&mut Self)) {
        self.tlv_with(Padding::Counted, what, kind, body);
    }

    /// A type-length-value.
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

    /// Ends the message: its bytes stay, or none of them.
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

/// Text in a field of `N` bytes, up to its first zero; the last byte is always a terminator. A byte that is not UTF-8
/// becomes a question mark, so that what is read fits when it is written again.
pub(crate) fn read_text<const N: usize>(field: &[u8; N]) -> String {
    let bytes = &field[..N - 1];
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// Text in a field of `N` bytes, cut where it is too long, between characters.
pub(crate) fn write_text<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [0; N];
    let end = text.floor_char_boundary(N - 1);
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}
