//! Ids of groups and meters, which tell whose they are, as cookies tell of rules.
//!
//! Group: `app (8 bits) | the app's number (24)`. Meter: `app * 1024 + the app's number`, as Open vSwitch has 2^18 meters.

/// Number of groups that an app may have on a switch.
pub const GROUPS: u32 = 1 << 24;
/// Number of meters that an app may have on a switch.
pub const METERS: u32 = 1 << 10;

/// Returns the id of an app's group, or `None` if no group can have the number.
pub fn group_id(app: u8, number: u32) -> Option<u32> {
    (number < GROUPS).then_some(u32::from(app) << 24 | number)
}

/// Returns the id of an app's meter, or `None` if no meter can have the number.
pub fn meter_id(app: u8, number: u32) -> Option<u32> {
    (number < METERS).then_some(u32::from(app) * METERS + number)
}

/// Returns the ids of an app's groups: first and last.
pub fn groups_of(app: u8) -> (u32, u32) {
    let first = u32::from(app) << 24;
    (first, first | (GROUPS - 1))
}

/// Returns the ids of an app's meters: first and last.
pub fn meters_of(app: u8) -> (u32, u32) {
    let first = u32::from(app) * METERS;
    (first, first + (METERS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_apps_do_not_overlap_and_open_vswitch_has_them() {
        assert_eq!(group_id(3, 7), Some(0x0300_0007));
        assert_eq!((group_id(3, GROUPS), meter_id(3, METERS)), (None, None));
        assert_eq!(meter_id(3, 7), Some(3079));
        for app in 1..254 {
            assert!(groups_of(app).1 < groups_of(app + 1).0);
            assert!(meters_of(app).1 < meters_of(app + 1).0);
        }
        assert!(meters_of(254).1 < 1 << 18);
        assert_eq!(meter_id(254, METERS - 1), Some(meters_of(254).1));
    }
}
