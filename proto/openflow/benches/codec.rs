//! Time and allocations of the hot path: `cargo bench -p morph-openflow`.

use bytes::{Bytes, BytesMut};
use divan::{AllocProfiler, Bencher, black_box, counter::ItemsCount};
use etherparse::Ethernet2HeaderSlice;
use morph_openflow::v13::*;
use morph_openflow::{MacAddr, MessageType, frame, v10};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const MESSAGES: usize = 1000;

fn main() {
    divan::main();
}

/// Packet-in of 102 bytes.
fn packet_in() -> Bytes {
    let mut data = [MacAddr::BROADCAST.0, [2, 0, 0, 0, 0, 1]].concat();
    data.extend_from_slice(&[0x08, 0x06]);
    data.resize(60, 0x5a);
    Message::PacketIn(PacketIn {
        buffer_id: NO_BUFFER,
        total_len: 60,
        reason: packet_in::reason::ACTION,
        table_id: 10,
        cookie: 7,
        match_: Match::new().in_port(7),
        data: data.into(),
    })
    .encode(1)
}

#[divan::bench]
fn split_and_classify(bencher: Bencher<'_, '_>) {
    let stream = packet_in().repeat(MESSAGES);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let (mut rest, mut packets) = (black_box(&stream[..]), 0);
        while let Ok(Some(first)) = frame::first(rest) {
            packets += u32::from(first.header.kind == MessageType::PACKET_IN);
            rest = first.rest;
        }
        packets
    });
}

/// Splits a buffer as the proxy does, where each frame is passed on.
#[divan::bench]
fn split_off_a_buffer(bencher: Bencher<'_, '_>) {
    let stream = packet_in().repeat(MESSAGES);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| BytesMut::from(&stream[..]))
        .bench_local_refs(|buffer| {
            let mut length = 0;
            while let Ok(Some(frame)) = frame::split(buffer) {
                length += frame.len();
            }
            length
        });
}

#[divan::bench]
fn read_packet_in(bencher: Bencher<'_, '_>) {
    let frame = packet_in();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let mut sum = 0;
        for _ in 0..MESSAGES {
            let view = PacketInView::new(black_box(&frame)).ok();
            let port = view.and_then(|view| view.in_port()).unwrap_or_default();
            let ethernet = view.and_then(|v| Ethernet2HeaderSlice::from_slice(v.data()).ok());
            let ethertype = ethernet.map_or(0, |e| e.ether_type().0);
            sum += port + u32::from(ethertype);
        }
        sum
    });
}

#[divan::bench]
fn decode_packet_in_as_a_value(bencher: Bencher<'_, '_>) {
    let frame = packet_in();
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| decode(black_box(&frame)));
}

#[divan::bench]
fn write_flow_mod(bencher: Bencher<'_, '_>) {
    let head = FlowMod {
        table_id: 10,
        priority: 100,
        cookie: 7,
        ..FlowMod::default()
    };
    let mut out = BytesMut::with_capacity(4096);
    let (src, dst) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for xid in 0..MESSAGES as u32 {
            out.clear();
            let fields: [(OxmField, &[u8]); 3] = [
                (OxmField::IN_PORT, &7_u32.to_be_bytes()),
                (OxmField::ETH_DST, black_box(&dst)),
                (OxmField::ETH_SRC, black_box(&src)),
            ];
            let actions = [Action::output(black_box(2))];
            let _ = black_box(head.write(xid, &fields, &actions, &mut out));
        }
        out.len()
    });
}

#[divan::bench]
fn write_packet_out(bencher: Bencher<'_, '_>) {
    let data = [0x5a; 60];
    let mut out = BytesMut::with_capacity(4096);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for xid in 0..MESSAGES as u32 {
            out.clear();
            let actions = [Action::output(black_box(port::FLOOD))];
            let _ = black_box(PacketOut::write(
                xid,
                7,
                &actions,
                black_box(&data),
                &mut out,
            ));
        }
        out.len()
    });
}

#[divan::bench]
fn decode_packet_in_of_1_0_as_a_value(bencher: Bencher<'_, '_>) {
    let packet_in = v10::PacketIn {
        buffer_id: v10::NO_BUFFER,
        total_len: 60,
        in_port: 7,
        reason: v10::packet_in::reason::ACTION,
        data: Bytes::from_static(&[0x5a; 60]),
    };
    let frame = v10::Message::PacketIn(packet_in).encode(1);
    bencher
        .counter(ItemsCount::new(1_usize))
        .bench_local(|| v10::decode(black_box(&frame)));
}

#[divan::bench]
fn write_flow_mod_of_1_0(bencher: Bencher<'_, '_>) {
    let flow_mod = v10::Message::FlowMod(v10::FlowMod {
        priority: 100,
        actions: vec![v10::Action::output(2)],
        ..v10::FlowMod::default()
    });
    let mut out = BytesMut::with_capacity(4096);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for xid in 0..MESSAGES as u32 {
            out.clear();
            black_box(&flow_mod).encode_into(xid, &mut out);
        }
        out.len()
    });
}
