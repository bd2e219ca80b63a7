//! Morpheus's layout of the OpenFlow cookie, which tells whose rule it is.
//!
//! `0x4D (8 bits) | app (8) | epoch (16) | the app's own (32)`. App 0 is Morpheus itself. A cookie with another first
//! byte, or with all bits set, is foreign: such rules are shown and never touched.

/// First byte of every cookie of Morpheus: 'M'.
const FIRST: u64 = 0x4D << 56;
/// Mask of the first byte and the app.
const OF_APP: u64 = 0xFFFF << 48;

/// Parts of a cookie of Morpheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Id of the app in its manifest; 0 is Morpheus.
    pub app: u8,
    /// Low 16 bits of the epoch that added the rule. Comparisons of rules ignore it.
    pub epoch: u16,
    /// The 32 bits that the app may use.
    pub own: u32,
}

impl Cookie {
    /// Returns the value on the wire.
    pub const fn to_u64(self) -> u64 {
        FIRST | (self.app as u64) << 48 | (self.epoch as u64) << 32 | self.own as u64
    }

    /// Returns the parts of a cookie, or `None` if it is foreign.
    pub const fn from_u64(cookie: u64) -> Option<Self> {
        if cookie >> 56 != FIRST >> 56 {
            return None;
        }
        Some(Cookie {
            app: (cookie >> 48) as u8,
            epoch: (cookie >> 32) as u16,
            own: cookie as u32,
        })
    }

    /// Returns cookie and mask that select every rule of Morpheus.
    pub const fn all() -> (u64, u64) {
        (FIRST, 0xFF << 56)
    }

    /// Returns cookie and mask that select every rule of an app, whatever its epoch.
    pub const fn all_of(app: u8) -> (u64, u64) {
        (FIRST | (app as u64) << 48, OF_APP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let cookie = Cookie {
            app: 3,
            epoch: 0xBEEF,
            own: 0x0102_0304,
        };
        assert_eq!(cookie.to_u64(), 0x4D03_BEEF_0102_0304);
        assert_eq!(Cookie::from_u64(cookie.to_u64()), Some(cookie));
        let (value, mask) = Cookie::all_of(3);
        assert_eq!(cookie.to_u64() & mask, value);
    }

    #[test]
    fn foreign_cookies_are_told_apart() {
        assert_eq!(Cookie::from_u64(0), None);
        assert_eq!(Cookie::from_u64(u64::MAX), None);
    }
}
