//! VLANs: one address on two of them is two hosts.

use morph_sdk::{Action, Bytes, MacAddr, Vlan, port};

use super::{A, B, S, bench, packet, walk_on, with_one_table};
use crate::tables::{MACS, PAIRS};

const TEN: [u8; 4] = [0x81, 0, 0, 10];
const TWENTY: [u8; 4] = [0x81, 0, 0, 20];
const PRIORITY: [u8; 4] = [0x81, 0, 0xe0, 0];

fn tagged(tag: [u8; 4], src: MacAddr, dst: MacAddr) -> Bytes {
    let frame = packet(src, dst);
    [&frame[..12], &tag, &frame[12..]].concat().into()
}

#[test]
fn one_address_on_two_vlans_and_without_one_is_three_hosts() {
    let mut bench = bench();
    bench.packet_in(S, 1, packet(A, B));
    bench.packet_in(S, 2, tagged(TEN, A, B));
    bench.packet_in(S, 3, tagged(TWENTY, A, B));
    assert_eq!(bench.view().count(&MACS), 3);
    for (vid, port) in [(0, 1), (10, 2), (20, 3)] {
        let vlan = Vlan::new(vid);
        let flood = [Action::output(port::FLOOD)];
        assert_eq!(walk_on(vlan, bench.rules(), port, A, B), flood);
        for other in [1, 2, 3].into_iter().filter(|other| *other != port) {
            let punted = walk_on(vlan, bench.rules(), other, A, B);
            assert_eq!(punted, [Action::to_controller()]);
        }
    }
    for (tag, out) in [(TEN, 2), (TWENTY, 3), (PRIORITY, 1)] {
        let outcome = bench.packet_in(S, 3, tagged(tag, B, A));
        let outputs: Vec<_> = outcome
            .packet_outs
            .iter()
            .flat_map(|out| &out.actions)
            .collect();
        let expected = (out != 3).then(|| Action::output(out));
        assert_eq!(outputs, expected.iter().collect::<Vec<_>>());
    }
    let back = walk_on(Vlan::new(10), bench.rules(), 3, B, A);
    assert_eq!(back, [Action::output(2)]);
    assert_eq!(bench.view().count(&MACS), 6);
}

#[test]
fn pairs_on_a_switch_with_one_table_are_of_a_vlan_too() {
    let mut bench = with_one_table();
    for tag in [TEN, TWENTY] {
        let [.., vid] = tag;
        bench.packet_in(S, 1 + u32::from(vid) / 20, tagged(tag, A, B));
        bench.packet_in(S, 3, tagged(tag, B, A));
    }
    let out = |vid| walk_on(Vlan::new(vid), bench.rules(), 3, B, A);
    assert_eq!(
        (out(10), out(20)),
        (vec![Action::output(1)], vec![Action::output(2)])
    );
    assert_eq!(out(0), [Action::to_controller()]);
    // A host that moves on one VLAN takes its own pairs only.
    bench.packet_in(S, 2, tagged(TEN, A, MacAddr::BROADCAST));
    let out = |vid| walk_on(Vlan::new(vid), bench.rules(), 3, B, A);
    assert_eq!(
        (out(10), out(20)),
        (vec![Action::to_controller()], vec![Action::output(2)])
    );
    assert_eq!(bench.view().count(&PAIRS), 3);
}
