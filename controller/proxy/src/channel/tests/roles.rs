//! Tests of roles: right, late, missing and absurd answers.

use morph_openflow::v13::role;

use super::*;

/// Error type `OFPET_ROLE_REQUEST_FAILED`.
const FAILED: u16 = 11;
const STALE: u16 = 0;
const UNSUPPORTED: u16 = 1;

fn reply(role: u32, generation_id: u64) -> Message {
    Message::RoleReply(v13::Role {
        role,
        generation_id,
    })
}

/// Returns xid, role and generation of the only role request sent.
fn role_request(sent: &[(Header, Message)]) -> (u32, u32, u64) {
    let asked = sent.iter().filter_map(|(header, message)| match message {
        Message::RoleRequest(asked) => Some((header.xid, asked.role, asked.generation_id)),
        _ => None,
    });
    let asked: Vec<_> = asked.collect();
    assert_eq!(asked.len(), 1, "{sent:?}");
    asked[0]
}

impl Bench {
    /// Creates a described switch that answered the first role request with `answer`.
    fn with_role(wanted: Role, answer: Message) -> Self {
        let mut bench = Bench::of_role(wanted);
        let requests = bench.admitted();
        bench.message(answer, role_request(&requests).0);
        assert_eq!(bench.describe(&requests), ["ready"]);
        bench
    }

    fn role(&self) -> (String, bool) {
        (self.channel.roles.name(), self.channel.may_write())
    }
}

#[test]
fn the_requested_role_is_held() {
    for (wanted, number, writes) in [
        (Role::Equal, role::EQUAL, true),
        (Role::Master, role::MASTER, true),
        (Role::Slave, role::SLAVE, false),
    ] {
        let mut bench = Bench::of_role(wanted);
        let requests = bench.admitted();
        let (xid, asked, generation) = role_request(&requests);
        assert_eq!((asked, generation), (number, 7));
        bench.message(reply(number, 7), xid);
        assert_eq!(bench.describe(&requests), ["ready"]);
        assert_eq!(bench.role(), (wanted.to_string(), writes));
        assert_eq!(
            bench.channel.received.errors, 1,
            "the one about descriptions"
        );
    }
}

#[test]
fn a_switch_that_knows_no_roles_is_no_failure() {
    // BAD_REQUEST/BAD_TYPE, BAD_REQUEST/BAD_EXPERIMENTER, ROLE_REQUEST_FAILED/UNSUPPORTED, and an unknown error.
    for (kind, code) in [(1, 1), (1, 3), (FAILED, UNSUPPORTED), (0xfffe, 0xfffe)] {
        let bench = Bench::with_role(Role::Equal, error(kind, code));
        assert_eq!(bench.role(), (String::new(), true), "{kind}/{code}");
        assert_eq!(
            bench.channel.received.errors, 1,
            "the one about descriptions"
        );
    }
    let bench = Bench::with_role(Role::Slave, error(1, 1));
    assert_eq!(
        bench.role(),
        (String::new(), false),
        "we do not try to write"
    );
}

#[test]
fn a_role_reply_is_not_waited_for_beyond_the_barrier() {
    let bench = Bench::ready();
    assert_eq!(bench.role(), (String::new(), true));
    // A late answer still counts.
    let mut bench = Bench::of_role(Role::Master);
    let requests = bench.admitted();
    assert_eq!(bench.describe(&requests), ["ready"]);
    bench.message(reply(role::MASTER, 7), role_request(&requests).0);
    assert_eq!(bench.role(), ("master".into(), true));
}

#[test]
fn a_stale_election_is_won_by_a_higher_one() {
    let mut bench = Bench::of_role(Role::Master);
    let requests = bench.admitted();
    bench.message(error(FAILED, STALE), role_request(&requests).0);
    let (xid, asked, _) = role_request(&bench.sent());
    assert_eq!(asked, role::NOCHANGE);
    assert!(
        bench.describe(&requests).is_empty(),
        "the role is not settled"
    );
    bench.message(reply(role::EQUAL, 41), xid);
    let (xid, asked, generation) = role_request(&bench.sent());
    assert_eq!((asked, generation), (role::MASTER, 42));
    assert_eq!(bench.message(reply(role::MASTER, 42), xid), ["ready"]);
    assert_eq!(bench.role(), ("master".into(), true));
}

#[test]
fn elections_that_are_always_stale_come_to_an_end() {
    let mut bench = Bench::of_role(Role::Master);
    let requests = bench.admitted();
    let mut xid = role_request(&requests).0;
    // Generation ids wrap around and are compared by distance.
    for newest in [u64::MAX, 9] {
        bench.message(error(FAILED, STALE), xid);
        let (read, ..) = role_request(&bench.sent());
        bench.message(reply(role::EQUAL, newest), read);
        let (again, _, generation) = role_request(&bench.sent());
        assert_eq!(generation, newest.wrapping_add(1));
        xid = again;
    }
    assert!(bench.describe(&requests).is_empty());
    assert_eq!(bench.message(error(FAILED, STALE), xid), ["ready"]);
    assert!(bench.sent().is_empty());
    assert_eq!(bench.role(), (String::new(), true));
}

#[test]
fn a_reread_that_is_never_answered_has_a_deadline() {
    let mut bench = Bench::of_role(Role::Master);
    let requests = bench.admitted();
    bench.message(error(FAILED, STALE), role_request(&requests).0);
    assert!(bench.describe(&requests).is_empty());
    assert!(bench.later(2 * SECOND).is_empty());
    assert_eq!(bench.later(SECOND), ["ready"]);
}

#[test]
fn absurd_and_unrequested_replies_change_nothing() {
    let mut bench = Bench::with_role(Role::Equal, reply(77, u64::MAX));
    assert_eq!(bench.role(), ("unknown (77)".into(), true));
    for (number, xid) in [(role::SLAVE, 0), (role::MASTER, u32::MAX), (99, 12)] {
        assert!(bench.message(reply(number, 3), xid).is_empty());
    }
    assert_eq!(bench.role(), ("unknown (77)".into(), true));
    let cut = Bytes::from_static(&[4, 25, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1]);
    let closed = bench.put(ChannelInput::Frame(cut)).join("");
    assert!(closed.contains("malformed ROLE_REPLY"), "{closed}");
}

#[test]
fn a_proxy_that_becomes_a_slave_stops_writing_until_that_changes() {
    let mut bench = Bench::with_role(Role::Master, reply(role::MASTER, 7));
    bench.sent();
    // Error IS_SLAVE for a rule, which is passed on to the sender of the rule.
    assert_eq!(bench.message(error(1, 10), 99), ["ERROR"]);
    let (xid, asked, _) = role_request(&bench.sent());
    assert_eq!(asked, role::NOCHANGE);
    bench.message(error(1, 10), 100);
    assert!(bench.sent().is_empty(), "asked already");
    assert_eq!(bench.message(reply(role::SLAVE, 8), xid), ["role"]);
    assert_eq!(bench.role(), ("slave".into(), false));
    bench.later(9 * SECOND);
    bench.message(Message::EchoReply(Bytes::new()), 0);
    bench.sent();
    bench.later(SECOND);
    let (xid, asked, _) = role_request(&bench.sent());
    assert_eq!(asked, role::NOCHANGE);
    assert_eq!(bench.message(reply(role::MASTER, 9), xid), ["role"]);
    assert_eq!(bench.role(), ("master".into(), true));
}
