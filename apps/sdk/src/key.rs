//! Keys of tables as text, the form in which they stand in the store and people read them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{Dpid, MacAddr, Vlan};

/// Key of a table's rows. Every key has one text, and a text at most one key.
///
/// Tuples are joined by `/`, so only the last part of one may contain a `/` itself.
pub trait Key: Ord + Clone + Send + Sync + 'static {
    /// Least key of the type.
    fn least() -> Self;
    /// Appends the text of the key.
    fn write(&self, out: &mut String);
    /// Parses a text that `write` may have written.
    fn parse(text: &str) -> Option<Self>;

    /// Text form of the key.
    fn text(&self) -> String {
        // Room for a datapath id and two hardware addresses.
        let mut out = String::with_capacity(52);
        self.write(&mut out);
        out
    }

    /// Parses a text only if `write` gives that very text, so that a row found by it can be got again.
    fn parse_exact(text: &str) -> Option<Self> {
        Self::parse(text).filter(|key| key.text() == text)
    }
}

/// Key that begins with a part of type `P`, as a `(Dpid, MacAddr)` begins with a `Dpid`.
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

    fn write(&self, out: &mut String) {
        out.push_str(self);
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

macro_rules! key_by_display {
    ($($kind:ty: $least:expr),*) => {$(
        impl Key for $kind {
            fn least() -> Self {
                $least
            }

            fn write(&self, out: &mut String) {
                out.push_str(&self.to_string());
            }

            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

key_by_display!(
    u8: 0, u16: 0, u32: 0, u64: 0,
    Ipv4Addr: Ipv4Addr::UNSPECIFIED, Ipv6Addr: Ipv6Addr::UNSPECIFIED, Vlan: Vlan::NONE
);

/// Appends a byte as two hexadecimal digits. Keys are written several times for each event, and formatting is slower.
fn write_hex(byte: u8, out: &mut String) {
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
    }
}

impl Key for Dpid {
    fn least() -> Self {
        Dpid(0)
    }

    fn write(&self, out: &mut String) {
        for byte in self.0.to_be_bytes() {
            write_hex(byte, out);
        }
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Key for MacAddr {
    fn least() -> Self {
        MacAddr([0; 6])
    }

    fn write(&self, out: &mut String) {
        for (at, byte) in self.0.into_iter().enumerate() {
            if at > 0 {
                out.push(':');
            }
            write_hex(byte, out);
        }
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn least() -> Self {
        (A::least(), B::least())
    }

    fn write(&self, out: &mut String) {
        self.0.write(out);
        out.push('/');
        self.1.write(out);
    }

    fn parse(text: &str) -> Option<Self> {
        let (a, b) = text.split_once('/')?;
        Some((A::parse(a)?, B::parse(b)?))
    }
}

impl<A: Key, B: Key> KeyPrefix<A> for (A, B) {
    fn least_of(first: &A) -> Self {
        (first.clone(), B::least())
    }

    fn begins_with(&self, first: &A) -> bool {
        self.0 == *first
    }
}

impl<A: Key, B: Key, C: Key> KeyPrefix<A> for (A, B, C) {
    fn least_of(first: &A) -> Self {
        (first.clone(), B::least(), C::least())
    }

    fn begins_with(&self, first: &A) -> bool {
        self.0 == *first
    }
}

impl<A: Key, B: Key, C: Key> KeyPrefix<(A, B)> for (A, B, C) {
    fn least_of((first, second): &(A, B)) -> Self {
        (first.clone(), second.clone(), C::least())
    }

    fn begins_with(&self, (first, second): &(A, B)) -> bool {
        self.0 == *first && self.1 == *second
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn least() -> Self {
        (A::least(), B::least(), C::least())
    }

    fn write(&self, out: &mut String) {
        self.0.write(out);
        out.push('/');
        self.1.write(out);
        out.push('/');
        self.2.write(out);
    }

    fn parse(text: &str) -> Option<Self> {
        let (a, (b, c)) = <(String, String)>::parse(text)
            .and_then(|(a, rest)| Some((a, <(String, String)>::parse(&rest)?)))?;
        Some((A::parse(&a)?, B::parse(&b)?, C::parse(&c)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_survive_being_text(dpid: u64, mac: [u8; 6], port: u32, ip: [u8; 4], vid: u16, name in "[a-z/]{0,9}") {
            let key = (Dpid(dpid), MacAddr(mac), port);
            prop_assert_eq!(Key::parse_exact(&key.text()), Some(key));
            prop_assert_eq!(key.text(), format!("{}/{}/{}", key.0, key.1, key.2));
            let key = (MacAddr(mac), Vlan::new(vid), Dpid(dpid));
            prop_assert_eq!(Key::parse_exact(&key.text()), Some(key));
            let key = (Ipv4Addr::from(ip), name);
            prop_assert_eq!(Key::parse_exact(&key.text()), Some(key));
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
}
