//! Groups, meters, tables and bundles of a real switch.

use super::*;
use morph_openflow::v13::{
    Bucket, BundleAdd, BundleControl, ErrorMsg, GroupDesc, GroupMod, MeterBand, MeterConfig,
    MeterMod, Oxm, OxmField, QueueStatsRequest, bundle, group, meter, queue,
};

fn groups() -> Vec<GroupMod> {
    let to = |port| vec![Action::output(port)];
    let weighted = |weight, port| Bucket {
        weight,
        ..Bucket::new(to(port))
    };
    let watched = |watch_port, actions| Bucket {
        watch_port,
        ..Bucket::new(actions)
    };
    let source = Oxm::exact(OxmField::ETH_SRC, &[2, 0, 0, 0, 0, 9]);
    let add = |kind, group_id, buckets| GroupMod {
        command: group::command::ADD,
        kind,
        group_id,
        buckets,
    };
    vec![
        add(group::kind::ALL, 1, vec![]),
        add(
            group::kind::ALL,
            2,
            vec![Bucket::new(to(1)), Bucket::new(to(port::LOCAL))],
        ),
        add(group::kind::SELECT, 3, vec![weighted(3, 1), weighted(7, 2)]),
        add(
            group::kind::INDIRECT,
            4,
            vec![Bucket::new(vec![
                Action::SetField(source),
                Action::output(4),
            ])],
        ),
        add(
            group::kind::FF,
            5,
            vec![watched(1, to(1)), watched(2, vec![Action::Group(2)])],
        ),
    ]
}

fn meters() -> Vec<MeterMod> {
    let drop = |rate, burst_size| MeterBand::Drop { rate, burst_size };
    let add = |meter_id, flags, bands| MeterMod {
        command: meter::command::ADD,
        flags,
        meter_id,
        bands,
    };
    let (kbps, pktps) = (meter::flag::KBPS, meter::flag::PKTPS);
    let burst = meter::flag::BURST | meter::flag::STATS;
    vec![
        add(1, kbps | burst, vec![drop(1000, 100)]),
        add(2, pktps | burst, vec![drop(500, 50)]),
    ]
}

#[test]
fn groups_and_meters_are_reported_as_they_were_sent() {
    let switch = start();
    let mut connection = switch.connect();
    for group_mod in groups() {
        let id = group_mod.group_id;
        let message = Message::GroupMod(group_mod);
        connection
            .change(&message)
            .unwrap_or_else(|e| panic!("group {id}: {e}"));
    }
    for meter_mod in meters() {
        connection.change(&Message::MeterMod(meter_mod)).unwrap();
    }
    let mut there: Vec<GroupDesc> = Vec::new();
    for body in connection.multipart(MultipartRequest::GroupDesc) {
        match body {
            MultipartBody::GroupDesc(groups) => there.extend(groups),
            other => panic!("{other:?}"),
        }
    }
    there.sort_by_key(|group| group.group_id);
    let wanted: Vec<GroupDesc> = groups()
        .into_iter()
        .map(|group| GroupDesc {
            kind: group.kind,
            group_id: group.group_id,
            buckets: group.buckets,
        })
        .collect();
    assert_eq!(there, wanted);
    let all = MultipartRequest::MeterConfig {
        meter_id: meter::ALL,
    };
    let there = connection.multipart(all);
    let wanted = meters().into_iter().map(|meter| MeterConfig {
        flags: meter.flags,
        meter_id: meter.meter_id,
        bands: meter.bands,
    });
    assert_eq!(there, [MultipartBody::MeterConfig(wanted.collect())]);
    counters(&mut connection);
    refusals(&mut connection);
}

/// Requests every multipart that the other tests do not, and decodes the replies.
fn counters(connection: &mut Connection) {
    let all_groups = MultipartRequest::Group {
        group_id: group::ALL,
    };
    let all_meters = MultipartRequest::Meter {
        meter_id: meter::ALL,
    };
    let all_queues = MultipartRequest::Queue(QueueStatsRequest {
        port_no: port::ANY,
        queue_id: queue::ALL,
    });
    let tables = MultipartRequest::TableFeatures {
        more: false,
        tables: vec![],
    };
    for (request, count) in [
        (all_groups, 5),
        (all_meters, 2),
        (all_queues, 0),
        (MultipartRequest::GroupFeatures, 1),
        (MultipartRequest::MeterFeatures, 1),
        (MultipartRequest::Table, 254),
        (tables, 254),
    ] {
        let bodies = connection.multipart(request.clone());
        let found: usize = bodies.iter().map(elements).sum();
        assert_eq!(found, count, "{request:?}");
    }
}

fn elements(body: &MultipartBody) -> usize {
    match body {
        MultipartBody::Group(all) => all.len(),
        MultipartBody::Meter(all) => all.len(),
        MultipartBody::Queue(all) => all.len(),
        MultipartBody::Table(all) => all.len(),
        MultipartBody::TableFeatures(all) => all.len(),
        MultipartBody::GroupFeatures(features) => {
            assert_eq!(features.types, 0xf);
            1
        }
        MultipartBody::MeterFeatures(features) => {
            assert!(features.max_bands > 0 && features.max_meter > 2);
            1
        }
        other => panic!("{other:?}"),
    }
}

fn refusals(connection: &mut Connection) {
    let refused = |error: Result<(), ErrorMsg>| error.unwrap_err().to_string();
    let again = Message::GroupMod(groups().remove(0));
    let error = refused(connection.change(&again));
    assert_eq!(error, "GROUP_MOD_FAILED/GROUP_EXISTS");
    let again = Message::MeterMod(meters().remove(0));
    let error = refused(connection.change(&again));
    assert_eq!(error, "METER_MOD_FAILED/METER_EXISTS");
}

#[test]
fn a_bundle_is_applied_as_a_whole() {
    let switch = start();
    let mut connection = switch.connect();
    let flags = bundle::flag::ATOMIC | bundle::flag::ORDERED;
    let control = |connection: &mut Connection, kind, answer| {
        connection.send(&Message::BundleControl(BundleControl {
            bundle_id: 7,
            kind,
            flags,
            properties: vec![],
        }));
        match connection.receive().1 {
            Message::BundleControl(reply) => assert_eq!((reply.bundle_id, reply.kind), (7, answer)),
            other => panic!("{other:?}"),
        }
    };
    use bundle::control;
    control(&mut connection, control::OPEN_REQUEST, control::OPEN_REPLY);
    let key = RuleKey::new(0, 7, &Match::new().in_port(3));
    let body = RuleBody {
        cookie: cases::COOKIE,
        ..RuleBody::default()
    };
    let rule = Message::FlowMod(FlowMod::add(&key, &body));
    let add = BundleAdd::new(7, flags, rule.encode(connection.next_xid()));
    connection.send(&Message::BundleAdd(add));
    control(
        &mut connection,
        control::CLOSE_REQUEST,
        control::CLOSE_REPLY,
    );
    assert!(installed(&mut connection).is_empty(), "not yet");
    control(
        &mut connection,
        control::COMMIT_REQUEST,
        control::COMMIT_REPLY,
    );
    check(&mut connection, &key, &body);

    connection.send(&Message::BundleControl(BundleControl {
        bundle_id: 8,
        kind: control::COMMIT_REQUEST,
        flags,
        properties: vec![],
    }));
    match connection.receive().1 {
        Message::Error(error) => assert_eq!(error.to_string(), "BUNDLE_FAILED/BAD_ID"),
        other => panic!("{other:?}"),
    }
}
