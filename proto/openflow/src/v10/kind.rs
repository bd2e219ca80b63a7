//! Message types of OpenFlow 1.0 (`ofp_type`). From 15 on, the numbers differ from those of later versions.

use crate::header::MessageType;

macro_rules! types {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(
            #[doc = concat!("Message type `OFPT_", stringify!($name), "`.")]
            pub const $name: MessageType = MessageType($number);
        )*

        /// Name in OpenFlow 1.0 without `OFPT_`. `None`: 1.0 has no such type.
        pub const fn name(kind: MessageType) -> Option<&'static str> {
            match kind.0 {
                $($number => Some(stringify!($name)),)*
                _ => None,
            }
        }

        /// All message types of OpenFlow 1.0, by number.
        pub const ALL: &[MessageType] = &[$($name),*];
    };
}

types! {
    HELLO = 0,
    ERROR = 1,
    ECHO_REQUEST = 2,
    ECHO_REPLY = 3,
    VENDOR = 4,
    FEATURES_REQUEST = 5,
    FEATURES_REPLY = 6,
    GET_CONFIG_REQUEST = 7,
    GET_CONFIG_REPLY = 8,
    SET_CONFIG = 9,
    PACKET_IN = 10,
    FLOW_REMOVED = 11,
    PORT_STATUS = 12,
    PACKET_OUT = 13,
    FLOW_MOD = 14,
    PORT_MOD = 15,
    STATS_REQUEST = 16,
    STATS_REPLY = 17,
    BARRIER_REQUEST = 18,
    BARRIER_REPLY = 19,
    QUEUE_GET_CONFIG_REQUEST = 20,
    QUEUE_GET_CONFIG_REPLY = 21,
}
