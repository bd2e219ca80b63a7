//! Rules as people read them, much as `ovs-ofctl` prints them.
