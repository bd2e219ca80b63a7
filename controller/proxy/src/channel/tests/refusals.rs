//! Tests of switches that refuse requests of the proxy or of apps.

use super::*;

/// Error that quotes the start of a refused message.
fn refusal(kind: MessageType) -> Message {
    Message::Error(ErrorMsg {
        kind: 1,
        code: 1,
        data: Bytes::from(vec![4, kind.0, 0, 8, 0, 0, 0, 0]),
    })
}

impl Bench {
    /// Creates a described switch that refused the barrier request of its handshake.
    fn without_barriers(refusal: Message) -> Self {
        let mut bench = Bench::new();
        let requests = bench.admitted();
        let xid = |index: usize| requests[index].0.xid;
        let body = MultipartBody::PortDesc(vec![port(1)]);
        let ports = Message::MultipartReply(MultipartReply { more: false, body });
        assert!(bench.message(ports, xid(2)).is_empty());
        assert!(bench.message(error(1, 2), xid(3)).is_empty());
        assert_eq!(bench.message(refusal, xid(4)), ["ready"]);
        bench
    }

    /// Forwards a barrier request of an app; returns what goes out for it.
    fn barrier(&mut self) -> (Header, Message) {
        let requester = Requester::Session {
            session: 1,
            token: 9,
        };
        let barrier = Message::BarrierRequest.encode(9);
        let (transport, now) = (&mut self.channel.transport, self.now);
        transport.forward(&barrier, requester, Expects::Reply, now);
        self.sent().remove(0)
    }

    pub(super) fn refuses(&self) -> Vec<String> {
        self.channel.report(0, self.now).refuses
    }
}

#[test]
fn an_echo_stands_in_for_a_barrier_that_is_refused() {
    // With and without a quotation of the refused message.
    for refused in [refusal(MessageType::BARRIER_REQUEST), error(1, 1)] {
        let mut bench = Bench::without_barriers(refused);
        assert_eq!(bench.refuses(), ["barrier", "desc"]);
        bench.sent();
        let (header, sent) = bench.barrier();
        assert_eq!(sent, Message::EchoRequest(Bytes::new()));
        let reply = Message::EchoReply(Bytes::new());
        assert_eq!(bench.message(reply.clone(), header.xid), ["BARRIER_REPLY"]);
        assert!(bench.message(reply, header.xid).is_empty(), "once");
        // The refusal of the stand-in is an answer as well.
        let (header, _) = bench.barrier();
        let refused = refusal(MessageType::ECHO_REQUEST);
        assert_eq!(bench.message(refused, header.xid), ["BARRIER_REPLY"]);
    }
}

#[test]
fn a_barrier_that_is_refused_after_the_handshake_is_answered_too() {
    let mut bench = Bench::ready();
    bench.sent();
    let (header, sent) = bench.barrier();
    assert_eq!(sent, Message::BarrierRequest);
    // A refusal as slave says nothing about barriers.
    let Message::Error(slave) = refusal(MessageType::BARRIER_REQUEST) else {
        unreachable!()
    };
    let slave = Message::Error(ErrorMsg { code: 10, ..slave });
    assert_eq!(bench.message(slave, header.xid), ["ERROR"]);
    bench.sent();
    assert_eq!(bench.barrier().1, Message::BarrierRequest);
    let refused = refusal(MessageType::BARRIER_REQUEST);
    assert_eq!(bench.message(refused, header.xid), ["BARRIER_REPLY"]);
    assert_eq!(bench.barrier().1, Message::EchoRequest(Bytes::new()));
}

#[test]
fn errors_of_messages_before_a_stand_in_find_their_sender_after_its_answer() {
    let mut bench = Bench::without_barriers(error(1, 1));
    bench.sent();
    let requester = Requester::Session {
        session: 1,
        token: 5,
    };
    let packet = Message::EchoRequest(Bytes::new()).encode(5);
    let (transport, now) = (&mut bench.channel.transport, bench.now);
    transport.forward(&packet, requester, Expects::Nothing, now);
    let command = bench.sent()[0].0.xid;
    let (header, _) = bench.barrier();
    bench.message(Message::EchoReply(Bytes::new()), header.xid);
    bench.channel.transport.barrier(header.xid);
    let sent = bench.channel.transport.sent(command);
    assert_eq!(sent.map(|sent| sent.requester), Some(requester));
}

#[test]
fn a_switch_that_refuses_echo_requests_lives_and_nobody_else_hears_of_it() {
    let mut bench = Bench::ready();
    bench.sent();
    for _ in 0..10 {
        assert!(bench.later(5 * SECOND).is_empty());
        let xid = bench.sent()[0].0.xid;
        let refused = refusal(MessageType::ECHO_REQUEST);
        assert!(bench.message(refused, xid).is_empty());
    }
    assert_eq!(bench.refuses(), ["desc", "echo"]);
    assert!(bench.channel.is_ready());
}
