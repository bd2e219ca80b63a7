//! Secrets of the network, by which a probe of topology is told from one that a host forged.
//!
//! A probe carries the first 128 bits of HMAC-SHA-256 over its EtherType, datapath id, port and time of sending. The secret is a
//! row, so instances of an upgrade share it. A new one is made once a day, and the one before is accepted for another day.
//!
//! ```text
//! secrets/present  = {"secret": 64 hex digits, "made_ms": ms since 1970}
//! secrets/previous = the same, of the day before
//! ```

use hmac::{Hmac, KeyInit, Mac};
use morph_sdk::lldp::{self, Probe, TAG};
use morph_sdk::{AppError, Table, Turn, View};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::clock::unix_ms;

/// Secrets by the names [`PRESENT`] and [`PREVIOUS`].
pub const SECRETS: Table<String, SecretRow> = Table::new("secrets");
/// Secret that signs probes.
pub const PRESENT: &str = "present";
/// Secret of the day before, whose probes are still accepted.
pub const PREVIOUS: &str = "previous";

/// Age in milliseconds at which a secret is replaced.
const DAY: u64 = 24 * 60 * 60 * 1000;
/// Length of a secret in bytes.
const LENGTH: usize = 32;

/// Source of random bytes.
pub type Random = fn() -> Result<[u8; LENGTH], AppError>;

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// 64 hexadecimal digits.
    secret: String,
    /// Time when it was made, in milliseconds since 1970.
    made_ms: u64,
}

/// Leaves the secret out, so that no log holds it.
impl std::fmt::Debug for SecretRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretRow")
            .field("made_ms", &self.made_ms)
            .finish_non_exhaustive()
    }
}

/// Kind of frame that carries a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// LLDP, which bridges keep to themselves.
    Lldp,
    /// Segment probe, which bridges pass on.
    Segment,
}

impl Carrier {
    fn ether_type(self) -> u16 {
        match self {
            Carrier::Lldp => lldp::ETHER_TYPE,
            Carrier::Segment => lldp::SEGMENT_ETHER_TYPE,
        }
    }
}

/// Makes a secret where there is none, and replaces one that is a day old.
///
/// A clock that is stepped by a day or more, either way, makes a secret old, too.
pub fn keep(random: Random, turn: &mut Turn<'_>) -> Result<(), AppError> {
    let now = unix_ms(turn);
    let present = get(PRESENT, &turn.view());
    if let Some(present) = present.filter(|row| row.key().is_some()) {
        if present.made_ms.abs_diff(now) < DAY {
            return Ok(());
        }
        turn.put(&SECRETS, &PREVIOUS.to_owned(), &present);
    }
    let secret = random()?;
    let row = SecretRow {
        secret: secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        made_ms: now,
    };
    turn.put(&SECRETS, &PRESENT.to_owned(), &row);
    Ok(())
}

/// Signs a probe. `None` while there is no secret.
pub fn sign(carrier: Carrier, probe: Probe, view: &View<'_>) -> Option<Probe> {
    let tag = mac(carrier, &probe, &get(PRESENT, view)?)?.finalize();
    let tag = tag.into_bytes().first_chunk::<TAG>().copied();
    Some(Probe { tag, ..probe })
}

/// Whether a probe has a tag by one of the secrets.
pub fn have_signed(carrier: Carrier, probe: &Probe, view: &View<'_>) -> bool {
    let Some(tag) = probe.tag else {
        return false;
    };
    [PRESENT, PREVIOUS].into_iter().any(|name| {
        let mac = get(name, view).and_then(|row| mac(carrier, probe, &row));
        mac.is_some_and(|mac| mac.verify_truncated_left(&tag).is_ok())
    })
}

fn get(name: &str, view: &View<'_>) -> Option<SecretRow> {
    view.get(&SECRETS, &name.to_owned())
}

fn mac(carrier: Carrier, probe: &Probe, secret: &SecretRow) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::new_from_slice(&secret.key()?).ok()?;
    mac.update(&carrier.ether_type().to_be_bytes());
    mac.update(&probe.dpid.0.to_be_bytes());
    mac.update(&probe.port.to_be_bytes());
    mac.update(&probe.sent_ms.to_be_bytes());
    Some(mac)
}

impl SecretRow {
    /// Bytes of the secret; `None` if the row was damaged.
    fn key(&self) -> Option<[u8; LENGTH]> {
        let digits: Option<Vec<u8>> = self.secret.chars().map(digit).collect();
        let bytes: Vec<u8> = digits?
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        (self.secret.len() == 2 * LENGTH).then_some(())?;
        bytes.try_into().ok()
    }
}

fn digit(digit: char) -> Option<u8> {
    digit
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(secret: &str) -> SecretRow {
        SecretRow {
            secret: secret.to_owned(),
            made_ms: 0,
        }
    }

    #[test]
    fn a_secret_is_64_hexadecimal_digits() {
        let mut bytes = [0xff; LENGTH];
        bytes[0] = 0x0a;
        assert_eq!(row(&format!("0a{}", "ff".repeat(31))).key(), Some(bytes));
        for bad in [
            "",
            "0a",
            &"f".repeat(63),
            &"f".repeat(65),
            &"ff".repeat(33),
            &"g".repeat(64),
            &"é".repeat(32),
        ] {
            assert_eq!(row(bad).key(), None, "{bad}");
        }
    }

    #[test]
    fn no_log_shows_a_secret() {
        assert!(!format!("{:?}", row("5ec7e7")).contains("5ec7e7"));
    }

    /// Expected bytes are from Python's `hmac`.
    #[test]
    fn a_tag_is_the_beginning_of_hmac_sha_256() {
        let probe = Probe {
            dpid: morph_sdk::Dpid(0xa1),
            port: 7,
            sent_ms: 0x0102,
            tag: None,
        };
        let mac = mac(Carrier::Lldp, &probe, &row(&"0b".repeat(LENGTH))).unwrap();
        let tag = mac.finalize().into_bytes();
        assert_eq!(
            tag[..TAG],
            0xc2280914b563c268b2c20cde912c955a_u128.to_be_bytes()
        );
    }
}
