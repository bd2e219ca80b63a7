//! Zero-copy structs for the fixed parts of messages: fields in wire order, big-endian and unaligned.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::addr::MacAddr;

/// Conversion between a host value and its big-endian, unaligned form. Public because public structs name it; its
/// module is private.
#[allow(unreachable_pub)]
pub trait Wire {
    /// Big-endian, unaligned form.
    type Repr;
    /// Reads the host value.
    fn get(repr: &Self::Repr) -> Self;
    /// Returns the wire form.
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

/// Zero-copy struct; `NAME` is used in errors.
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
                #[doc = concat!("Value of `", stringify!($field), "` in the byte order of the host.")]
                #[inline]
                $get fn $field(&self) -> $type {
                    <$type as $crate::wire::Wire>::get(&self.$field)
                }
            )*
        }
    };
}
pub(crate) use fixed;
