//! Changes of a turn that take effect together.

use morph_openflow::v13::bundle::control;

use super::*;

fn flow_mod(priority: u16) -> Message {
    let cookie = Cookie {
        app: 1,
        epoch: 1,
        own: 0,
    };
    Message::FlowMod(v13::FlowMod {
        table_id: 10,
        priority,
        cookie: cookie.to_u64(),
        ..v13::FlowMod::default()
    })
}

fn packet_out() -> Message {
    Message::PacketOut(PacketOut {
        buffer_id: v13::NO_BUFFER,
        in_port: v13::port::CONTROLLER,
        actions: Vec::new(),
        data: Bytes::from_static(b"data"),
    })
}

impl Bench {
    /// Sends a turn of these messages, of which those for channels in `together` take effect together.
    fn turn_of(&mut self, messages: &[(u32, Message)], together: &[u32]) {
        self.turn += 1;
        let end = from_app::Record::TurnEnd(TurnEnd {
            epoch: 1,
            turn: self.turn,
            event: None,
            together: together.to_vec(),
        });
        self.wire.clear();
        self.records(1, |records| {
            for (conn, message) in messages {
                put_message(records, *conn, &message.encode(7));
            }
            control(records, end);
        });
    }

    /// Messages on the wire of a switch, shortly.
    fn wire_of(&self, conn: u32) -> String {
        let of = self.wire.iter().filter(|(to, _)| *to == conn);
        let text = |(_, message): &(u32, Message)| match message {
            Message::FlowMod(_) => 'f',
            Message::BundleAdd(_) => '+',
            Message::BundleControl(sent) if sent.kind == control::OPEN_REQUEST => '(',
            Message::BundleControl(_) => ')',
            Message::PacketOut(_) => 'p',
            _ => '?',
        };
        of.map(text).collect()
    }
}

#[test]
fn changes_for_a_marked_channel_are_a_bundle_and_all_else_is_as_without_it() {
    let mut bench = Bench::live(1 << 20);
    bench.switch(2, 8, 254);
    bench.answer(3);
    bench.received();
    let mut turn: Vec<(u32, Message)> = Vec::new();
    for priority in 0..10 {
        turn.extend([(1, flow_mod(priority)), (2, flow_mod(priority))]);
        // Barriers that pace the changes.
        if priority % 4 == 3 {
            turn.push((1, Message::BarrierRequest));
        }
    }
    turn.extend([(1, packet_out()), (2, packet_out()), (1, flow_mod(99))]);
    bench.turn_of(&turn, &[1]);
    assert_eq!(bench.wire_of(1), "(++++++++++)pf");
    assert_eq!(bench.wire_of(2), "ffffffffffp");
    assert_eq!(bench.replies, [(1, 7), (1, 7)], "both barriers");
    let slot = bench.slot();
    assert_eq!((slot.flow_mods, slot.packet_outs), (21, 2));
    bench.turn_of(&turn, &[]);
    assert_eq!(bench.wire_of(1), "ffffffffffpf");
    // A channel that is gone takes nothing.
    let end = ConnectionEnd::Peer { unfinished: 0 };
    bench.put(Input::Ended { conn: 1, end });
    bench.turn_of(&turn, &[1, 2]);
    assert_eq!(
        (bench.wire_of(1), bench.wire_of(2)),
        (String::new(), "(++++++++++)p".into())
    );
    assert_eq!(bench.slot().flow_mods, 21 + 21 + 10);
}
