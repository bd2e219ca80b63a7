//! `OFPT_ERROR`: a type, a code within that type, and data. Types and codes differ between the versions.

use std::fmt;

use crate::wire::fixed;

fixed! {
    /// `ofp_error_msg` from its header to its data.
    pub struct ErrorFixed = "error" {
        pub kind: u16,
        pub code: u16,
    }
}

/// Table of error types: number, name, and the numbers and names of the type's codes.
pub type Names = [(u16, &'static str, &'static [(u16, &'static str)])];

/// Looks up the names of an error type and of its code.
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

/// Writes type and code by name, or by number if unnamed.
pub(crate) fn show(f: &mut fmt::Formatter<'_>, all: &Names, kind: u16, code: u16) -> fmt::Result {
    match names(all, kind, code) {
        (Some(kind), Some(code)) => write!(f, "{kind}/{code}"),
        (Some(kind), None) => write!(f, "{kind}/code {code}"),
        (None, _) => write!(f, "type {kind}/code {code}"),
    }
}

/// Declares the error types of a version, the codes of each by number and name, and the error message. Codes count
/// from 0.
macro_rules! errors {
    ($($(#[$doc:meta])* $module:ident: $kind:ident = $number:literal: $($code:ident = $n:literal),*;)*) => {
        pub use $crate::shared::error::Names;

        /// Error types: the kind of request that was refused (`OFPET_*`).
        pub mod kind {$(
            $(#[$doc])*
            pub const $kind: u16 = $number;
        )*}

        /// Error codes, in one module for each type.
        pub mod code {$(
            #[doc = concat!("Codes of errors of type `OFPET_", stringify!($kind), "`.")]
            pub mod $module {$(
                #[doc = concat!("Error code `", stringify!($code), "`.")]
                pub const $code: u16 = $n;
            )*}
        )*}

        /// All types that have codes, with the names of their codes.
        pub const ALL: &Names = &[$(
            ($number, stringify!($kind), &[$(($n, stringify!($code)),)*]),
        )*];

        /// Name of an error type without `OFPET_`. `None`: the version has no such type.
        pub fn kind_name(kind: u16) -> Option<&'static str> {
            $crate::shared::error::names(ALL, kind, 0).0
        }

        /// Name of an error code without its prefix. `None`: the type has no such code.
        pub fn code_name(kind: u16, code: u16) -> Option<&'static str> {
            $crate::shared::error::names(ALL, kind, code).1
        }

        /// Error message: a request that was refused, and the reason.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct ErrorMsg {
            /// Error type, a constant of `kind`.
            pub kind: u16,
            /// Error code within that type, a constant of `code`.
            pub code: u16,
            /// First bytes, at least 64, of the refused request; a text if the hello exchange failed.
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
                let fixed = reader.fixed::<$crate::shared::error::ErrorFixed>()?;
                Ok(ErrorMsg {
                    kind: fixed.kind(),
                    code: fixed.code(),
                    data: reader.rest(),
                })
            }

            pub(crate) fn encode(&self, w: &mut $crate::wire::Writer<'_>) {
                w.fixed(&$crate::shared::error::ErrorFixed {
                    kind: self.kind.into(),
                    code: self.code.into(),
                });
                w.bytes(&self.data);
            }
        }
    };
}
pub(crate) use errors;
