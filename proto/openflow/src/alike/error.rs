//! `OFPT_ERROR`: a type, a code that depends on it, and data. Each version has its own types and codes.

use std::fmt;

use crate::wire::fixed;

fixed! {
    /// `ofp_error_msg` from its header to its data.
    pub struct ErrorFixed = "error" {
        pub kind: u16,
        pub code: u16,
    }
}

/// Types, and the codes of each: numbers and names.
pub type Names = [(u16, &'static str, &'static [(u16, &'static str)])];

/// The names of a type and of its code, where they have some.
pub(crate) fn names(
    all: &Names,
    kind: u16,
    code: u16,
) -> (Option<&'static str>, Option<&'static str>) {
    let found = all.iter().find(|(number, _, _)| *number == kind);
    let codes = found.map_or(&[][..], |(_, _, codes)| *codes);
    let code = codes.iter().find(|(number, _)| *number == code);
    (found.map(|(_, name, _)| *name), code.map(|(_, name)| *name))
}

/// Both by name, or by number where they have none.
pub(crate) fn show(f: &mut fmt::Formatter<'_>, all: &Names, kind: u16, code: u16) -> fmt::Result {
    match names(all, kind, code) {
        (Some(kind), Some(code)) => write!(f, "{kind}/{code}"),
        (Some(kind), None) => write!(f, "{kind}/code {code}"),
        (None, _) => write!(f, "type {kind}/code {code}"),
    }
}

/// Declares the types of a version's errors and the codes of each, by number and by name, and the message. Codes count
/// from 0.
macro_rules! errors {
    ($($(#[$doc:meta])* $module:ident: $kind:ident = $number:literal: $($code:ident = $n:literal),*;)*) => {
        pub use $crate::alike::error::Names;

        /// What kind of thing was refused: `OFPET_*`.
        pub mod kind {$(
            $(#[$doc])*
            pub const $kind: u16 = $number;
        )*}

        /// What exactly is wrong, by type.
        pub mod code {$(
            #[doc = concat!("Codes of `OFPET_", stringify!($kind), "`.")]
            pub mod $module {$(
                #[doc = concat!("`", stringify!($code), "`.")]
                pub const $code: u16 = $n;
            )*}
        )*}

        /// All types that have codes, and their codes: numbers and names.
        pub const ALL: &Names = &[$(
            ($number, stringify!($kind), &[$(($n, stringify!($code)),)*]),
        )*];

        /// The specification's name of a type without `OFPET_`, where it has one.
        pub fn kind_name(kind: u16) -> Option<&'static str> {
            $crate::alike::error::names(ALL, kind, 0).0
        }

        /// The specification's name of a code without its prefix, where it has one.
        pub fn code_name(kind: u16, code: u16) -> Option<&'static str> {
            $crate::alike::error::names(ALL, kind, code).1
        }

        /// Something was refused.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct ErrorMsg {
            /// `kind::*`.
            pub kind: u16,
            /// What it means depends on the type.
            pub code: u16,
            /// At least 64 bytes of what was refused; of a failed hello, text.
            pub data: bytes::Bytes,
        }

        impl serde::Serialize for ErrorMsg {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::serial::error((self.kind, self.code), self, &self.data, serializer)
            }
        }

        impl ErrorMsg {
            pub(crate) fn decode(
                reader: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::error::DecodeError> {
                let fixed = reader.fixed::<$crate::alike::error::ErrorFixed>()?;
                Ok(ErrorMsg {
                    kind: fixed.kind(),
                    code: fixed.code(),
                    data: reader.rest(),
                })
            }

            pub(crate) fn encode(&self, w: &mut $crate::wire::Writer<'_>) {
                w.fixed(&$crate::alike::error::ErrorFixed {
                    kind: self.kind.into(),
                    code: self.code.into(),
                });
                w.bytes(&self.data);
            }
        }
    };
}
pub(crate) use errors;
