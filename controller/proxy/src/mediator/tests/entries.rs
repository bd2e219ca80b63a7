//! Entries into the tables of an app, in a switch that has its rules, or not yet.

use morph_api::session::RulesConfirmed;
use morph_api::supervisor::Configuration;
use morph_openflow::v13::Instruction;

use super::*;

/// Tables to which packets were led from table 0, in order; `None`: they were dropped.
fn led(bench: &mut Bench, conn: u32) -> Vec<Option<u8>> {
    let wire = std::mem::take(&mut bench.wire);
    let of_table_0 = wire.iter().filter_map(|(to, message)| match message {
        Message::FlowMod(flow) if *to == conn && flow.table_id == 0 => {
            Some(match flow.instructions[..] {
                [Instruction::GotoTable(table)] => Some(table),
                _ => None,
            })
        }
        _ => None,
    });
    of_table_0.collect()
}

fn confirm(bench: &mut Bench, session: u64, channel: u32) {
    let confirmed = from_app::Record::RulesConfirmed(RulesConfirmed { channel });
    bench.records(session, |records| control(records, confirmed));
}

fn with(drops_absent: bool, is_stopped: bool) -> Configuration {
    let mut apps = configuration(&APPS);
    apps.apps[0].drops_absent = drops_absent;
    apps.apps[0].is_stopped = is_stopped;
    apps
}

fn confirming(drops_absent: bool) -> Bench {
    let mut bench = Bench::new(QUOTA);
    bench.confirms_rules = true;
    bench.ask(ControlRequest::Configure(with(drops_absent, false)));
    bench.switch(1, 7, 254);
    bench
}

#[test]
fn packets_are_led_to_an_app_once_its_live_instance_reports_that_the_switch_has_its_rules() {
    let mut bench = confirming(false);
    assert_eq!(led(&mut bench, 1), [None]);
    bench.attach(1, "a");
    confirm(&mut bench, 1, 1);
    assert_eq!(led(&mut bench, 1), [], "it is not live");
    bench.resume("a", 1, 0);
    assert_eq!(led(&mut bench, 1), []);
    confirm(&mut bench, 1, 1);
    assert_eq!(led(&mut bench, 1), [Some(10)]);
    confirm(&mut bench, 1, 1);
    assert_eq!(led(&mut bench, 1), [], "once is enough");
    // Another switch has none of the rules, nor has one that comes back empty.
    bench.switch(2, 8, 254);
    assert_eq!(led(&mut bench, 2), [None]);
    bench.put(Input::Ended {
        conn: 1,
        end: ConnectionEnd::Peer { unfinished: 0 },
    });
    bench.switch(3, 7, 254);
    assert_eq!(led(&mut bench, 3), [None]);
}

#[test]
fn packets_are_dropped_in_the_tables_of_an_app_that_asks_for_that_until_its_rules_are_there() {
    let mut bench = confirming(true);
    assert_eq!(led(&mut bench, 1), [Some(10)]);
    bench.attach(1, "a");
    bench.resume("a", 1, 0);
    confirm(&mut bench, 1, 1);
    assert_eq!(
        led(&mut bench, 1),
        [],
        "they are there, and nothing changes"
    );
}

#[test]
fn a_report_that_overtakes_the_reading_of_a_switch_counts() {
    let mut bench = confirming(false);
    bench.attach(1, "a");
    bench.resume("a", 1, 0);
    bench.answers_reads = false;
    bench.switch(2, 8, 254);
    confirm(&mut bench, 1, 2);
    assert_eq!(led(&mut bench, 2), []);
    let body = MultipartBody::Flow(Vec::new());
    let reply = Message::MultipartReply(MultipartReply { more: false, body });
    while let Some(xid) = bench.reads.pop() {
        let frames = vec![reply.encode(xid)];
        bench.put(Input::Frames { conn: 2, frames });
    }
    assert_eq!(led(&mut bench, 2), [Some(10)]);
}

#[test]
fn an_app_of_an_earlier_sdk_is_entered_when_it_is_live() {
    let mut bench = confirming(false);
    led(&mut bench, 1);
    bench.confirms_rules = false;
    bench.attach(1, "a");
    assert_eq!(led(&mut bench, 1), []);
    bench.resume("a", 1, 0);
    assert_eq!(led(&mut bench, 1), [Some(10)]);
    bench.switch(2, 8, 254);
    assert_eq!(led(&mut bench, 2), [Some(10)]);
}

#[test]
fn an_app_that_drops_and_is_started_on_a_running_network_is_passed_by_until_its_rules_are_there_or_it_is_stopped()
 {
    for stops in [false, true] {
        let mut bench = confirming(true);
        bench.ask(ControlRequest::Configure(Configuration::default()));
        bench.wire.clear();
        bench.ask(ControlRequest::Configure(with(true, false)));
        assert_eq!(led(&mut bench, 1), [None]);
        // A switch that connects meanwhile lets nothing pass.
        bench.switch(2, 8, 254);
        assert_eq!(led(&mut bench, 2), [Some(10)]);
        match stops {
            true => bench.ask(ControlRequest::Configure(with(true, true))),
            false => {
                bench.attach(1, "a");
                bench.resume("a", 1, 0);
                confirm(&mut bench, 1, 1);
            }
        }
        assert_eq!(led(&mut bench, 1), [Some(10)]);
    }
}
