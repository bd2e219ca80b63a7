//! Deadlines of the steps of an upgrade, as given in `app.toml` (`[upgrade]`), on the command line, and in the
//! record.

use std::time::Duration;

/// Maximum of every deadline.
const MOST: Duration = Duration::from_secs(3600);

/// Deadlines of the steps of an upgrade. [`Deadlines::NAMES`] says what happens when one passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deadlines {
    /// Time between two reports on the shadow of the state.
    pub shadow: Duration,
    /// Time for the new instance to become ready.
    pub start: Duration,
    /// Time for the answer to a probe.
    pub probe: Duration,
    /// Time for the old instance to finish its turns.
    pub quiesce: Duration,
    /// Time for the whole hold, which the proxy enforces.
    pub hold: Duration,
    /// Time for the store's answer to the fence.
    pub fence: Duration,
    /// Time for the first rules of all members of a group upgrade.
    pub rules: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines::DEFAULT
    }
}

impl Deadlines {
    /// Deadlines where neither `app.toml` nor the operator sets others.
    pub const DEFAULT: Deadlines = Deadlines {
        shadow: Duration::from_secs(60),
        start: Duration::from_secs(20),
        probe: Duration::from_secs(2),
        quiesce: Duration::from_secs(1),
        hold: Duration::from_secs(5),
        fence: Duration::from_secs(2),
        rules: Duration::from_secs(3),
    };
    /// Names of the deadlines, and what happens when one passes.
    pub const NAMES: [(&'static str, &'static str); 7] = [
        (
            "shadow",
            "no progress of the shadow of the state: the old release stays, or comes back",
        ),
        (
            "start",
            "the new instance is not ready: it is ended, the old release stays",
        ),
        (
            "probe",
            "the new instance does not answer: the old release stays, or comes back",
        ),
        (
            "quiesce",
            "the old instance has not finished its turns: it is treated as crashed",
        ),
        (
            "hold",
            "the slot is held for too long: the proxy ends the hold by itself, and the old release comes back",
        ),
        (
            "fence",
            "the store does not answer: the old release comes back",
        ),
        (
            "rules",
            "one of several apps has no first rules yet: all come back",
        ),
    ];

    /// Sets a deadline by its name.
    pub fn set(&mut self, name: &str, time: Duration) -> Result<(), String> {
        if time.is_zero() || time > MOST {
            return Err(format!("{name}: {time:?} is not from 1 ms to 1 h"));
        }
        let place = match name {
            "shadow" => &mut self.shadow,
            "start" => &mut self.start,
            "probe" => &mut self.probe,
            "quiesce" => &mut self.quiesce,
            "hold" => &mut self.hold,
            "fence" => &mut self.fence,
            "rules" => &mut self.rules,
            _ => {
                let names = Self::NAMES.map(|(name, _)| name).join(", ");
                return Err(format!(
                    "{name:?} is no step with a deadline; there are: {names}"
                ));
            }
        };
        *place = time;
        Ok(())
    }

    /// Returns all deadlines with their names.
    pub fn all(&self) -> [(&'static str, Duration); 7] {
        [
            ("shadow", self.shadow),
            ("start", self.start),
            ("probe", self.probe),
            ("quiesce", self.quiesce),
            ("hold", self.hold),
            ("fence", self.fence),
            ("rules", self.rules),
        ]
    }

    /// Checks that the deadlines are consistent with each other.
    pub fn check(&self) -> Result<(), String> {
        match self.hold > self.quiesce {
            true => Ok(()),
            false => Err(format!(
                "hold ({:?}) is not longer than quiesce ({:?}): it would end before the old instance has",
                self.hold, self.quiesce
            )),
        }
    }
}

/// Parses a number with its unit: `500ms`, `30s`, `5m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text:?} is no time: 500ms, 30s, 5m, 1h")),
    };
    let number: Option<u64> = digits.parse().ok();
    let ms = number.and_then(|number| number.checked_mul(unit));
    let ms = ms.ok_or_else(|| format!("{text:?} is no time: 500ms, 30s, 5m, 1h"))?;
    Ok(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_set_by_its_name_and_by_no_other() {
        for (name, _) in Deadlines::NAMES {
            let mut deadlines = Deadlines::default();
            deadlines.set(name, Duration::from_millis(7)).unwrap();
            let changed = deadlines
                .all()
                .into_iter()
                .filter(|(_, time)| time.as_millis() == 7);
            assert_eq!(changed.map(|(name, _)| name).collect::<Vec<_>>(), [name]);
        }
        let mut deadlines = Deadlines::default();
        assert!(
            deadlines
                .set("commit", MOST)
                .unwrap_err()
                .contains("quiesce")
        );
        assert!(deadlines.set("start", Duration::ZERO).is_err());
        assert!(deadlines.set("start", MOST * 2).is_err());
        assert_eq!(deadlines, Deadlines::default());
        deadlines.hold = deadlines.quiesce;
        assert!(deadlines.check().unwrap_err().contains("hold"));
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1h"), Ok(MOST));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "1d", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
