use bytes::BytesMut;
use morph_openflow::Header;
use morph_openflow::rule::RuleSet;
use morph_openflow::v13::{
    Action, FlowMod, FlowStatsRequest, GroupMod, Instruction, Match, Message, MultipartBody,
    MultipartReply, MultipartRequest, TABLE_ALL, group,
};

use crate::{Datapath, Punt};

fn empty() -> Datapath {
    Datapath::new(1, RuleSet::new())
}

fn send(datapath: &mut Datapath, message: Message) -> Vec<Message> {
    let frame = message.encode(7);
    let header = Header::read(&frame).unwrap();
    let mut out = BytesMut::new();
    datapath.answer(&frame, header, message, &mut out);
    let mut answers = Vec::new();
    while let Some(frame) = morph_openflow::frame::split(&mut out).unwrap() {
        answers.push(morph_openflow::v13::decode(&frame).unwrap().1);
    }
    answers
}

fn add(table: u8, priority: u16, match_: Match, instruction: Instruction) -> Message {
    Message::FlowMod(FlowMod {
        table_id: table,
        priority,
        match_,
        cookie: u64::from(table) << 8 | 5,
        instructions: vec![instruction],
        ..FlowMod::default()
    })
}

fn with_punt() -> Datapath {
    let mut datapath = empty();
    let punt = Instruction::ApplyActions(vec![Action::to_controller()]);
    let goto = Instruction::GotoTable(9);
    send(&mut datapath, add(0, 0, Match::new(), goto));
    send(&mut datapath, add(9, 1, Match::new().in_port(1), punt));
    datapath
}

#[test]
fn a_packet_passes_through_the_tables_and_is_not_sent_without_a_rule() {
    let mut datapath = with_punt();
    let punt = Punt {
        table: 9,
        cookie: 9 << 8 | 5,
    };
    assert_eq!(datapath.punt(1), Some(punt));
    assert_eq!(datapath.punt(2), None);
    // A rule of higher priority without an output drops the packet.
    let nothing = Instruction::ApplyActions(Vec::new());
    send(&mut datapath, add(9, 2, Match::new(), nothing));
    assert_eq!(datapath.punt(1), None);
}

#[test]
fn rules_are_found_and_deleted_by_their_cookies() {
    let mut datapath = with_punt();
    let count = |datapath: &mut Datapath, cookie, mask| {
        let request = MultipartRequest::Flow(FlowStatsRequest::by_cookie(cookie, mask));
        let parts = send(datapath, Message::MultipartRequest(request));
        let rules = parts.iter().map(|part| match part {
            Message::MultipartReply(MultipartReply {
                body: MultipartBody::Flow(rules),
                ..
            }) => rules.len(),
            other => panic!("{other:?}"),
        });
        (parts.len(), rules.sum::<usize>())
    };
    assert_eq!(count(&mut datapath, 5, 0xff), (2, 2));
    assert_eq!(count(&mut datapath, 9 << 8, 0xff00), (1, 1));
    let delete = FlowMod::delete(TABLE_ALL, 9 << 8, 0xff00);
    assert!(send(&mut datapath, Message::FlowMod(delete)).is_empty());
    assert_eq!(count(&mut datapath, 0, 0), (1, 1));
    assert_eq!(count(&mut datapath, 77, 0xff), (1, 0));
    assert_eq!(datapath.punt(1), None);
}

#[test]
fn an_existing_group_is_not_added_again() {
    let mut datapath = empty();
    let group = |command| {
        Message::GroupMod(GroupMod {
            command,
            kind: group::kind::ALL,
            group_id: 3,
            buckets: Vec::new(),
        })
    };
    for (command, refused) in [
        (group::command::MODIFY, true),
        (group::command::ADD, false),
        (group::command::ADD, true),
        (group::command::DELETE, false),
    ] {
        let answers = send(&mut datapath, group(command));
        let error = matches!(answers[..], [Message::Error(_)]);
        assert_eq!(
            (error, answers.is_empty()),
            (refused, !refused),
            "{answers:?}"
        );
    }
}

#[test]
fn an_unsupported_message_is_refused_with_an_error() {
    let answers = send(&mut empty(), Message::GetAsyncRequest);
    assert!(matches!(answers[..], [Message::Error(_)]), "{answers:?}");
}

#[test]
fn barriers_are_withheld_and_answered_later_in_their_order() {
    let mut datapath = empty();
    let barrier = |datapath: &mut Datapath| send(datapath, Message::BarrierRequest);
    assert_eq!(barrier(&mut datapath), [Message::BarrierReply]);
    datapath.hold_barriers();
    assert!(barrier(&mut datapath).is_empty() && barrier(&mut datapath).is_empty());
    let mut out = BytesMut::new();
    datapath.release_barriers(&mut out);
    assert_eq!(out.len(), 16);
    assert_eq!(barrier(&mut datapath), [Message::BarrierReply]);
}
