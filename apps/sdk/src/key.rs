//! Keys of tables as text, the form in which they stand in the store and people read them.
//!
//! The parts of a key are joined by `/`. The last part is written as it is, so a text there may hold a `/`. In a part that others
//! follow a `/` is written `%2F`, and a `%` in front of `2F` or `25` is written `%25`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::key_text::{KeyParts, KeyText};
use crate::{Dpid, MacAddr, Vlan};

/// Key of a table's rows. Every key has one text, and a text at most one key.
///
/// Numbers, addresses, texts, and tuples of up to eight keys are keys, and `#[derive(Key)]` makes one of an app's own struct or
/// enum. Rows are in the order of their keys as values (`2` before `10`), whatever the order of the texts is.
///
/// ```
/// use morph_sdk::{Dpid, Key, Table};
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
/// enum Direction {
///     Ingress,
///     Egress,
/// }
///
/// #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Key)]
/// struct Class {
///     switch: Dpid,
///     port: u32,
///     direction: Direction,
///     name: String,
/// }
///
/// const RATES: Table<Class, u64> = Table::new("rates");
///
/// let class = Class { switch: Dpid(1), port: 2, direction: Direction::Egress, name: "voice".to_owned() };
/// assert_eq!(class.text(), "0000000000000001/2/egress/voice");
/// assert_eq!(Class::parse_exact("0000000000000001/2/egress/voice"), Some(class));
/// ```
pub trait Key: Ord + Clone + Send + Sync + 'static {
    /// Least key of the type.
    fn least() -> Self;
    /// Appends the text of the key.
    fn write(&self, out: &mut KeyText);
    /// Reads what `write` may have written.
    fn read(parts: &mut KeyParts<'_>) -> Option<Self>;

    /// Text form of the key.
    fn text(&self) -> String {
        let mut out = KeyText::default();
        self.write(&mut out);
        out.into_string()
    }

    /// Parses a text, also one that is written otherwise than `write` does (`01` for 1).
    fn parse(text: &str) -> Option<Self> {
        Self::read(&mut KeyParts::new(text))
    }

    /// Parses a text only if `write` gives that very text, so that a row found by it can be got again.
    fn parse_exact(text: &str) -> Option<Self> {
        Self::parse(text).filter(|key| key.text() == text)
    }
}

/// Key that begins with a part of type `P`, as a `(Dpid, MacAddr)` begins with a `Dpid`. Several leading parts are a tuple.
pub trait KeyPrefix<P>: Key {
    /// Least key that begins with this part.
    fn least_of(first: &P) -> Self;
    /// Whether the key begins with this part.
    fn begins_with(&self, first: &P) -> bool;
}

impl Key for String {
    fn least() -> Self {
        String::new()
    }

    fn write(&self, out: &mut KeyText) {
        out.text(self);
    }

    fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
        Some(parts.text()?.into_owned())
    }
}

macro_rules! key_by_display {
    ($($kind:ty: $least:expr),*) => {$(
        impl Key for $kind {
            fn least() -> Self {
                $least
            }

            fn write(&self, out: &mut KeyText) {
                out.text(&self.to_string());
            }

            fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
                parts.text()?.parse().ok()
            }
        }
    )*};
}

key_by_display!(
    bool: false, u8: 0, u16: 0, u32: 0, u64: 0, u128: 0, i32: i32::MIN, i64: i64::MIN,
    Ipv4Addr: Ipv4Addr::UNSPECIFIED, Ipv6Addr: Ipv6Addr::UNSPECIFIED,
    IpAddr: IpAddr::V4(Ipv4Addr::UNSPECIFIED), Vlan: Vlan::NONE
);

impl Key for Dpid {
    fn least() -> Self {
        Dpid(0)
    }

    fn write(&self, out: &mut KeyText) {
        for byte in self.0.to_be_bytes() {
            out.hex(byte);
        }
    }

    fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
        parts.text()?.parse().ok()
    }
}

impl Key for MacAddr {
    fn least() -> Self {
        MacAddr([0; 6])
    }

    fn write(&self, out: &mut KeyText) {
        for (at, byte) in self.0.into_iter().enumerate() {
            if at > 0 {
                out.colon();
            }
            out.hex(byte);
        }
    }

    fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
        parts.text()?.parse().ok()
    }
}

macro_rules! tuple_key {
    ($($part:ident $at:tt)+; $last:ident $last_at:tt) => {
        impl<$($part: Key,)+ $last: Key> Key for ($($part,)+ $last) {
            fn least() -> Self {
                ($($part::least(),)+ $last::least())
            }

            fn write(&self, out: &mut KeyText) {
                $(out.lead(|out| self.$at.write(out));)+
                self.$last_at.write(out);
            }

            fn read(parts: &mut KeyParts<'_>) -> Option<Self> {
                Some(($(parts.lead($part::read)?,)+ $last::read(parts)?))
            }
        }
    };
}

tuple_key!(A 0; B 1);
tuple_key!(A 0 B 1; C 2);
tuple_key!(A 0 B 1 C 2; D 3);
tuple_key!(A 0 B 1 C 2 D 3; E 4);
tuple_key!(A 0 B 1 C 2 D 3 E 4; F 5);
tuple_key!(A 0 B 1 C 2 D 3 E 4 F 5; G 6);
tuple_key!(A 0 B 1 C 2 D 3 E 4 F 5 G 6; H 7);

macro_rules! tuple_prefix {
    ($first:ident; $($rest:ident)+) => {
        impl<$first: Key, $($rest: Key),+> KeyPrefix<$first> for ($first, $($rest),+) {
            fn least_of(first: &$first) -> Self {
                (first.clone(), $($rest::least()),+)
            }

            fn begins_with(&self, first: &$first) -> bool {
                self.0 == *first
            }
        }
    };
    ($($part:ident $at:tt)+; $($rest:ident)+) => {
        impl<$($part: Key,)+ $($rest: Key),+> KeyPrefix<($($part),+)> for ($($part,)+ $($rest),+) {
            fn least_of(first: &($($part),+)) -> Self {
                ($(first.$at.clone(),)+ $($rest::least()),+)
            }

            fn begins_with(&self, first: &($($part),+)) -> bool {
                $(self.$at == first.$at)&&+
            }
        }
    };
}

tuple_prefix!(A; B);
tuple_prefix!(A; B C);
tuple_prefix!(A 0 B 1; C);
tuple_prefix!(A; B C D);
tuple_prefix!(A 0 B 1; C D);
tuple_prefix!(A 0 B 1 C 2; D);
tuple_prefix!(A; B C D E);
tuple_prefix!(A 0 B 1; C D E);
tuple_prefix!(A 0 B 1 C 2; D E);
tuple_prefix!(A 0 B 1 C 2 D 3; E);
tuple_prefix!(A; B C D E F);
tuple_prefix!(A 0 B 1; C D E F);
tuple_prefix!(A 0 B 1 C 2; D E F);
tuple_prefix!(A 0 B 1 C 2 D 3; E F);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4; F);
tuple_prefix!(A; B C D E F G);
tuple_prefix!(A 0 B 1; C D E F G);
tuple_prefix!(A 0 B 1 C 2; D E F G);
tuple_prefix!(A 0 B 1 C 2 D 3; E F G);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4; F G);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4 F 5; G);
tuple_prefix!(A; B C D E F G H);
tuple_prefix!(A 0 B 1; C D E F G H);
tuple_prefix!(A 0 B 1 C 2; D E F G H);
tuple_prefix!(A 0 B 1 C 2 D 3; E F G H);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4; F G H);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4 F 5; G H);
tuple_prefix!(A 0 B 1 C 2 D 3 E 4 F 5 G 6; H);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;
    use proptest::prelude::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Key)]
    enum Side {
        Near = 2,
        FarAway = 1,
    }

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Key)]
    struct Place {
        dpid: Dpid,
        name: String,
        side: Side,
    }

    #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Key)]
    struct Number(u64);

    fn side() -> impl Strategy<Value = Side> {
        prop_oneof![Just(Side::Near), Just(Side::FarAway)]
    }

    fn comes_back<K: Key + std::fmt::Debug>(key: &K) -> Result<(), TestCaseError> {
        let text = key.text();
        prop_assert_eq!(K::parse_exact(&text), Some(key.clone()));
        Ok(())
    }

    proptest! {
        #[test]
        fn keys_survive_being_text(dpid: u64, mac: [u8; 6], port: u32, ip: [u8; 4], vid: u16, name in "[a-z/]{0,9}") {
            let key = (Dpid(dpid), MacAddr(mac), port);
            comes_back(&key)?;
            prop_assert_eq!(key.text(), format!("{}/{}/{}", key.0, key.1, key.2));
            comes_back(&(MacAddr(mac), Vlan::new(vid), Dpid(dpid)))?;
            comes_back(&(Ipv4Addr::from(ip), name))?;
        }

        #[test]
        fn texts_survive_at_any_place(one in "[a%/25F]{0,9}", two in "[a%/25F]{0,9}", last in "[a%/25F]{0,9}", side in side()) {
            comes_back(&(one.clone(), two.clone(), last.clone()))?;
            comes_back(&((one.clone(), two.clone()), last.clone()))?;
            comes_back(&(one.clone(), (two.clone(), Number(7)), (side, last.clone())))?;
            let place = Place { dpid: Dpid(1), name: one.clone(), side };
            comes_back(&place)?;
            comes_back(&(place, two, 1u8, 2u16, 3u128, -4i64, true, last.clone()))?;
            prop_assert_eq!(last.text(), last);
        }

        #[test]
        fn two_keys_have_two_texts(a in "[%/25F]{0,6}", b in "[%/25F]{0,6}", c in "[%/25F]{0,6}", d in "[%/25F]{0,6}") {
            let (one, other) = ((a, b, 1u8), (c, d, 1u8));
            prop_assert_eq!(one == other, one.text() == other.text());
        }

        #[test]
        fn keys_with_one_beginning_stand_together(keys: Vec<(u8, u8, u8)>, first: u8, second: u8) {
            let sorted: std::collections::BTreeSet<_> = keys.iter().copied().collect();
            let least = <(u8, u8, u8)>::least_of(&(first, second));
            let found: Vec<_> = sorted.range(least..).take_while(|key| key.begins_with(&(first, second))).collect();
            let all: Vec<_> = sorted.iter().filter(|key| (key.0, key.1) == (first, second)).collect();
            prop_assert_eq!(found, all);
        }
    }

    #[test]
    fn a_key_has_one_text() {
        assert_eq!((Dpid(1), 2u32).text(), "0000000000000001/2");
        for odd in ["1/2", "0000000000000001/02", "0000000000000001", "/", ""] {
            assert_eq!(<(Dpid, u32)>::parse_exact(odd), None, "{odd}");
        }
        let host = (MacAddr([2, 0, 0, 0, 0, 1]), Vlan::NONE);
        assert_eq!(host.text(), "02:00:00:00:00:01/none");
        for odd in [
            "02:00:00:00:00:01",
            "02:00:00:00:00:01/0",
            "02:00:00:00:00:01/010",
        ] {
            assert_eq!(<(MacAddr, Vlan)>::parse_exact(odd), None, "{odd}");
        }
    }

    #[test]
    fn texts_of_earlier_builds_are_as_they_were() {
        let key = ("50% off".to_owned(), "a/b%2F".to_owned());
        assert_eq!(key.text(), "50% off/a/b%2F");
        let key = ("50%25".to_owned(), Dpid(1));
        assert_eq!(key.text(), "50%2525/0000000000000001");
        let key = ("a/b".to_owned(), Dpid(1));
        assert_eq!(key.text(), "a%2Fb/0000000000000001");
    }

    #[test]
    fn derived_keys_begin_with_their_fields() {
        let key = Place {
            dpid: Dpid(1),
            name: "x/y".to_owned(),
            side: Side::FarAway,
        };
        assert_eq!(key.text(), "0000000000000001/x%2Fy/far-away");
        assert!(key.begins_with(&Dpid(1)) && !key.begins_with(&Dpid(2)));
        assert!(key.begins_with(&(Dpid(1), "x/y".to_owned())));
        assert!(!key.begins_with(&(Dpid(1), "x".to_owned())));
        assert_eq!(Side::least(), Side::FarAway, "least by its order");
        let least = Place::least_of(&(Dpid(1), "x/y".to_owned()));
        assert_eq!(least, key);
        assert_eq!(Number(7).text(), "7");
        assert_eq!(Place::parse_exact("0000000000000001/x/farAway"), None);
    }
}
