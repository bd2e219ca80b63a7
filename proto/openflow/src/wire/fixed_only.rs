//! Structures that consist only of their fixed part.

/// Declares a structure that consists only of its fixed part, as a value and in its wire form. Fields are in wire
/// order, each with the padding that follows it.
macro_rules! fixed_only {
    ($(#[$meta:meta])* pub struct $name:ident: $fixed:ident = $what:literal {
        $($(#[$doc:meta])* $field:ident: $type:ty $(, $pad:ident: $n:literal)?;)*
    }) => {
        $crate::wire::fixed! {
            /// Wire form of the structure declared with it.
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
pub(crate) use fixed_only;
