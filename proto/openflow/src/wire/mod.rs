//! Where bounds live: one reader and one writer, and fixed parts as zerocopy structs.
//!
//! All decoders take what they need from a [`Reader`], which never gives more than there is; all encoders put what
//! they have into a [`Writer`], which notes a length that does not fit into its field.

mod read;
mod write;

pub(crate) use read::{Reader, Tlv, Tlvs};
pub(crate) use write::Writer;

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::addr::MacAddr;

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

fixed! {
    /// What actions, instructions, hello elements and properties begin with.
    pub(crate) struct TlvHeader = "tlv" {
        pub(crate) kind: u16,
        pub(crate) length: u16,
    }
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
