//! Packet-ins that await their answers, and how an answer is matched with its packet-in.

use crate::address::index_of;
use crate::wire::Reply;

/// One source address: when its packet-in was sent (NOT_OUT: none is unanswered), and how many it has sent.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) at: u64,
    pub(crate) generation: u32,
}

pub(crate) const NOT_OUT: u64 = u64::MAX;

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            at: NOT_OUT,
            generation: 0,
        }
    }
}

const INDEX_BITS: u32 = 20;
const GEN_MASK: u32 = 0x7ff; // the buffer id's top bit stays clear, so it is never OFP_NO_BUFFER

pub(crate) fn buffer_id(index: u32, generation: u32) -> u32 {
    (generation & GEN_MASK) << INDEX_BITS | index
}

pub(crate) fn by_buffer(b: u32, entries: &[Entry]) -> Option<(u32, Option<bool>)> {
    let i = b & ((1 << INDEX_BITS) - 1);
    let e = entries.get(i as usize)?;
    Some((i, Some(e.generation & GEN_MASK == b >> INDEX_BITS)))
}

/// Packet-in that a controller message refers to: its index, and whether its generation agrees (None: cannot tell).
pub(crate) fn refers_to(no: u16, r: &Reply, entries: &[Entry]) -> Option<(u32, Option<bool>)> {
    if let Some(b) = r.buffer {
        return by_buffer(b, entries);
    }
    if let Some((i, g)) = r.tag {
        let e = entries.get(i as usize)?;
        return Some((i, Some(e.generation == g)));
    }
    let i = index_of(no, r.src).or_else(|| index_of(no, r.dst))?;
    entries.get(i as usize)?;
    Some((i, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{host_mac, known_mac};
    use crate::wire;

    #[test]
    fn buffer_ids_are_never_no_buffer_and_tell_generations_apart() {
        let mut e = vec![Entry::default(); 1 << 20];
        e[5].generation = 3;
        for g in [0u32, 1, 3, 2048, u32::MAX] {
            assert_ne!(buffer_id((1 << 20) - 1, g), wire::NO_BUFFER);
        }
        let r = Reply {
            buffer: Some(buffer_id(5, 3)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((5, Some(true))));
        let r = Reply {
            buffer: Some(buffer_id(5, 2)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((5, Some(false))));
    }

    #[test]
    fn a_reverse_flow_refers_to_the_same_packet_in() {
        let e = vec![Entry::default(); 100];
        let r = Reply {
            src: Some(known_mac(1)),
            dst: Some(host_mac(1, 42)),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), Some((42, None)));
        let r = Reply {
            src: Some(known_mac(1)),
            dst: Some([0xff; 6]),
            ..Reply::default()
        };
        assert_eq!(refers_to(1, &r, &e), None);
    }
}
