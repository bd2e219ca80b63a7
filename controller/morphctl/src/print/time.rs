//! Points in time, in UTC.

const DAY_MS: u64 = 86_400_000;

/// Formats a time by RFC 3339 with milliseconds; 0, the API's "never", becomes empty.
pub(crate) fn utc(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return String::new();
    }
    let (year, month, day) = date(unix_ms / DAY_MS);
    let ms = unix_ms % DAY_MS;
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, ms) = (ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Gregorian date (year, month, day) of a day since 1970. Years here begin in March, so that the leap day comes last; then
/// eras of 400 years, years and months are all found by division.
fn date(unix_day: u64) -> (u64, u64, u64) {
    let day = unix_day + 719_468; // since 1 March of year 0
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    let year = 400 * era + year + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        for (unix_s, text) in [
            (1, "1970-01-01T00:00:01.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_078_099_199, "2004-02-29T23:59:59.000Z"),
            (1_700_000_000, "2023-11-14T22:13:20.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_s * 1000), text);
        }
        assert_eq!(utc(0), "");
        assert!(!utc(u64::MAX).is_empty());
    }
}
