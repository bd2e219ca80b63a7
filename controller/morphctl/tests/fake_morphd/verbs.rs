//! Every verb against a fake morphd: its request, its output in both formats, and its exit code.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::fake::{FakeMorphd, morphctl, run};
use serde_json::{Value, json};

/// Splits a table into lines, with single spaces between the columns.
fn rows(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

/// Runs a verb and returns the lines of the table that it prints.
fn table(fake: &FakeMorphd, line: &str) -> Vec<String> {
    let result = fake.run(line);
    assert_eq!(
        (result.code, result.err.as_str()),
        (0, ""),
        "{line}: {result:?}"
    );
    rows(&result.out)
}

fn object(fake: &FakeMorphd, line: &str) -> Value {
    let mut objects = fake.json(line);
    assert_eq!(objects.len(), 1, "{line}");
    objects.remove(0)
}

#[test]
fn apps() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "apps"),
        [
            "NAME RELEASE STATUS EPOCH PID BACKLOG RATE ANSWERED DROPPED P50_MS P99_MS FLOODED_BY QUARANTINED TROUBLE",
            "router 1.0.0 running 4 4242 0 12.3 1234 5 1.500 240.000 0000000000000007(94%) 0 -",
            "topology - failed 0 - 0 0.0 0 0 0.000 0.000 - 0 1.1.0 kept dying",
        ]
    );
    let apps = object(&fake, "apps");
    let router = json!({
        "name": "router", "id": 3, "release": "1.0.0", "status": "running", "epoch": 4, "pid": 4242, "backlog": 0,
        "rate": 12.34, "restarts": 0, "lost": 5, "events": 0, "flow_mods": 0, "group_mods": 0, "meter_mods": 0,
        "packet_outs": 0, "instance": "9", "quarantined": 0, "trouble": "", "packet_outs_dropped": 0, "answered": 1234, "too_old": 4,
        "delay_p50_us": 1500, "delay_p99_us": 240_000, "target_delay_us": 200_000, "flooding": "0000000000000007",
        "flooding_percent": 94,
    });
    assert_eq!(apps["apps"][0], router);
    assert_eq!(apps.as_object().map(serde_json::Map::len), Some(1));
}

#[test]
fn releases() {
    let fake = FakeMorphd::start();
    let header = "APP VERSION STATUS SCHEMA INSTALLED DIGEST";
    let row = "router 2.0.0 staged 2 2023-11-14T22:13:20.000Z ab12";
    assert_eq!(table(&fake, "releases app=router"), [header, row]);
    assert_eq!(fake.last_request(), "ReleasesRequest { app: \"router\" }");
    let releases = object(&fake, "releases");
    assert_eq!(fake.last_request(), "ReleasesRequest { app: \"\" }");
    assert_eq!(
        releases["releases"][0]["installed_unix_ms"],
        1_700_000_000_000_u64
    );
}

#[test]
fn app_install_sends_an_absolute_path() {
    let fake = FakeMorphd::start();
    let mut command = fake.command("app install bundles/again");
    let result = run(command.current_dir(fake.dir()));
    assert_eq!(result.code, 0, "{result:?}");
    assert_eq!(
        rows(&result.out),
        [
            "APP VERSION STATUS SCHEMA NEW DIGEST",
            "router 2.0.0 staged 2 no ab12"
        ]
    );
    let path = fake.dir().join("bundles/again");
    assert_eq!(
        fake.last_request(),
        format!("InstallAppRequest {{ path: {path:?}, unchecked: false }}")
    );
    let installed = object(&fake, "app install /x/new");
    assert_eq!(installed["releases"][0]["already"], false);
    assert_eq!(installed["releases"][0]["version"], "2.0.0");
}

#[test]
fn app_start_stop_remove() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "app start router@1.0.0")[1],
        "router 1.0.0 running 4 4242 0 12.3 1234 5 1.500 240.000 0000000000000007(94%) 0 -"
    );
    assert_eq!(
        fake.last_request(),
        "StartAppRequest { app: \"router\", version: \"1.0.0\", config: [] }"
    );
    assert_eq!(object(&fake, "app start router")["apps"][0]["pid"], 4242);
    assert_eq!(
        fake.last_request(),
        "StartAppRequest { app: \"router\", version: \"\", config: [] }"
    );
    assert_eq!(
        table(&fake, "app stop router"),
        ["NAME STATUS", "router stopped"]
    );
    assert_eq!(
        object(&fake, "app stop router"),
        json!({"apps": [{"name": "router", "status": "stopped"}]})
    );
    assert_eq!(
        table(&fake, "app remove router"),
        ["NAME STATUS SWITCHES", "router removed 4"]
    );
    assert_eq!(
        object(&fake, "app remove router"),
        json!({"apps": [{"name": "router", "status": "removed", "switches": 4}]})
    );
}

#[test]
fn logs() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "logs app=router --tail 5"),
        ["INFO ready", "WARN \\u{1b}[31mred"]
    );
    assert_eq!(
        fake.last_request(),
        "LogsRequest { app: \"router\", tail: 5, follow: false }"
    );
    assert_eq!(
        object(&fake, "logs app=router"),
        json!({"logs": [{"line": "INFO ready"}, {"line": "WARN \u{1b}[31mred"}]})
    );
}

#[test]
fn followed_logs_come_line_by_line_until_nobody_reads() {
    let fake = FakeMorphd::start();
    for (format, first) in [
        ("table", "INFO ready"),
        ("json", "{\"logs\":[{\"line\":\"INFO ready\"}]}"),
    ] {
        let line = format!("--output {format} logs app=router --follow");
        let mut child = fake.command(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut read = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(read.next().unwrap().unwrap(), first);
        assert!(
            child.try_wait().unwrap().is_none(),
            "it continues to follow"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(fake.has_request("LogsRequest { app: \"router\", tail: 200, follow: true }"));
}

#[test]
fn a_clean_switch_lists_the_apps_that_put_rules_back() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "switch clean 1"),
        ["APP DELETED THEN", "router 3 put back", "app 9 3 gone"]
    );
    assert_eq!(
        fake.last_request(),
        "CleanSwitchRequest { dpid: \"0000000000000001\" }"
    );
    let cleaned = object(&fake, "switch clean 0x1");
    assert_eq!(
        cleaned["cleaned"][1],
        json!({"app": "app 9", "rules": 3, "comes_back": false})
    );
    fake.run("app remove router --keep-rules");
    assert_eq!(
        fake.last_request(),
        "RemoveAppRequest { app: \"router\", keep_rules: true, bypass: false }"
    );
    fake.run("app remove router --bypass");
    assert_eq!(
        fake.last_request(),
        "RemoveAppRequest { app: \"router\", keep_rules: false, bypass: true }"
    );
}

#[test]
fn a_forgotten_switch_lists_the_apps_that_were_told() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "switch forget 1"),
        ["FORGOTTEN_BY", "topology", "router"]
    );
    assert_eq!(
        fake.last_request(),
        "ForgetSwitchRequest { dpid: \"0000000000000001\" }"
    );
    let forgotten = object(&fake, "switch forget 0x1");
    assert_eq!(forgotten["forgotten"][1], json!({"app": "router"}));
}

#[test]
fn the_pipeline_is_listed_and_its_order_changed() {
    let fake = FakeMorphd::start();
    let listed = table(&fake, "pipeline");
    assert_eq!(
        listed[..3],
        [
            "APP FIRST TABLES EXIT NEEDS SECOND AFTER",
            "topology 1 1 2 2 - -",
            "router 3 1 4 4 - topology",
        ]
    );
    assert!(
        listed.concat().contains("0000000000000001, has 10"),
        "{listed:?}"
    );
    let object = object(&fake, "pipeline");
    assert_eq!(object["pipeline"][1]["after"], json!(["topology"]));
    fake.run("pipeline move app=router before=topology");
    assert_eq!(
        fake.last_request(),
        "MoveAppRequest { app: \"router\", after: \"\", before: \"topology\" }"
    );
}

#[test]
fn poison_events_are_listed_retried_and_dropped() {
    let fake = FakeMorphd::start();
    let header = "ID APP RELEASE DPID TIME SEQ DEATHS TRIES STATE EVENT DIED";
    let row = |id: &str, tries: u32, state: &str, event: &str| {
        format!(
            "{id} router 1.0.0 0000000000000001 2023-11-14T22:13:20.000Z 7:12 3 {tries} {state} {event} ended with exit \
             status 101: index out of bounds"
        )
    };
    let list = table(&fake, "events quarantined app=router");
    let expected = [
        header.to_owned(),
        row("router-1", 0, "quarantined", "echo_request"),
        row("router-2", 0, "quarantined", "lost 7"),
        row("router-3", 0, "quarantined", "message"),
    ];
    assert_eq!(list, expected);
    assert_eq!(
        fake.last_request(),
        "QuarantinedEventsRequest { app: \"router\" }"
    );
    let whole = table(&fake, "events quarantined --message").join("\n");
    assert!(whole.contains("ECHO_REQUEST OpenFlow 1.3, xid 0x9, 8 bytes"));
    assert!(whole.contains("0000 04 02 00 08 00 00 00 09"));
    let events = object(&fake, "events quarantined");
    let first = &events["events"][0];
    assert_eq!(first["message"], "0402000800000009");
    assert_eq!(first["decoded"]["type"], "ECHO_REQUEST");
    assert_eq!(events["events"][2]["decoded"], Value::Null);
    let tried = table(&fake, "events retry router-1");
    assert_eq!(tried[1], row("router-1", 1, "retrying", "echo_request"));
    assert_eq!(
        fake.last_request(),
        "RetryEventRequest { id: \"router-1\", app: \"\" }"
    );
    let dropped = object(&fake, "events drop router-1");
    assert_eq!(dropped["events"][0]["state"], "dropped");
    assert_eq!(fake.run("events drop absent").code, 1);

    let all = fake.run("events retry app=router");
    assert_eq!(all.code, 0);
    assert!(all.out.ends_with(
        "\n1 event queued again.\nNot queued again: router-2: its switch is not connected\n"
    ));
    let all = object(&fake, "events drop app=router");
    let ids: Vec<_> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["id"], &e["state"]))
        .collect();
    assert_eq!(
        ids,
        [
            (&json!("router-1"), &json!("dropped")),
            (&json!("router-2"), &json!("dropped"))
        ]
    );
    assert_eq!(fake.run("events drop app=absent").code, 1);
}

#[test]
fn status() {
    let fake = FakeMorphd::start();
    let result = fake.run("status");
    assert_eq!(
        (result.code, result.err.as_str()),
        (
            0,
            "morphctl: router is overloaded, and most events that were dropped are of switch 0000000000000007: see `morphctl apps`\n\
             morphctl: topology 1.1.0 kept dying: see `morphctl logs app=topology`\n"
        ),
    );
    assert_eq!(
        rows(&result.out),
        [
            "APP FROM TO STEP TIME HANDOVER_MS HELD REPLAYED RULES BY MESSAGE",
            "router 1.0.0 2.0.0 Committed 2023-11-14T22:13:20.007Z 4.210 3 1 +0,~2,-0,=40 operator -",
            "topology 1.0.0 2.0.0 Upgraded 2023-11-14T22:13:20.006Z 4.210 3 1 +0,~0,-0,=0 - -",
        ]
    );
    let status = object(&fake, "status app=router");
    assert_eq!(
        fake.last_request(),
        "StatusRequest { app: \"router\", follow: false }"
    );
    assert_eq!(status["upgrades"][0]["step"], "COMMITTED");
    assert_eq!(status["upgrades"][0]["handover_us"], 4210);
    assert_eq!(status["upgrades"][0]["id"], "7");
    assert_eq!(status["upgrades"][1]["step"], "UPGRADED");
}

#[test]
fn switches_and_ports() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "switches"),
        [
            "DPID REMOTE OPENFLOW TABLES PORTS CONNECTED_S DISCONNECTS IN OUT ERRORS ROLE REFUSES SOFTWARE",
            "0000000000000001 127.0.0.1:40000 1.3 254 3 61 0 0 0 0 - barrier,echo 3.1.0",
        ]
    );
    assert_eq!(
        object(&fake, "switches")["switches"][0]["connected_ms"],
        61_500
    );
    let ports = table(&fake, "ports of:0000000000000001");
    assert_eq!(
        fake.last_request(),
        "PortsRequest { dpid: \"0000000000000001\" }"
    );
    assert_eq!(ports[1], "1 s1-eth1 00:00:00:00:01:01 up 10 0 0 0 0 0 0 0");
    assert_eq!(object(&fake, "ports 1")["ports"][0]["number"], 1);
}

#[test]
fn flows() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "flows 0x1 app=router"),
        [
            "APP TABLE PRIORITY COOKIE EPOCH PACKETS BYTES DURATION_S IDLE HARD MATCH INSTRUCTIONS",
            "router 20 100 0x4d03000400000000 4 0 0 1.500 0 0 eth_dst=00:00:00:00:00:01 output:2, goto:29",
        ]
    );
    assert_eq!(
        fake.last_request(),
        "FlowsRequest { dpid: \"0000000000000001\", app: \"router\" }"
    );
    let flow = &object(&fake, "flows 1")["flows"][0];
    assert_eq!(flow["cookie"], "0x4d03000400000000");
    assert_eq!(
        (&flow["match"], &flow["duration_s"]),
        (&json!("eth_dst=00:00:00:00:00:01"), &json!(1.5))
    );
    let result = fake.run("flows 2");
    assert_eq!((result.code, result.out.as_str()), (1, ""));
    assert_eq!(
        result.err,
        "morphctl: no switch 0000000000000002 is connected\n"
    );
}

#[test]
fn alarms() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "alarms app=topology --kind flap --switch 1"),
        [
            "SINCE APP KIND WHERE WHAT MEND",
            "2023-11-14T22:13:20.000Z topology flap 0000000000000001/7/00:00:00:00:00:01 port 7 flaps see the cable",
            "- morpheus slave - - -",
        ]
    );
    assert_eq!(
        fake.last_request(),
        "AlarmsRequest { app: \"topology\", kind: \"flap\", dpid: \"0000000000000001\" }"
    );
    let alarm = json!({
        "app": "topology", "kind": "flap", "dpid": "0000000000000001", "port": 7, "host": "00:00:00:00:00:01",
        "text": "port 7 flaps", "mend": "see the cable", "since_unix_ms": 1_700_000_000_000_u64,
    });
    assert_eq!(object(&fake, "alarms")["alarms"][0], alarm);
    assert_eq!(fake.run("alarms app=absent").code, 1);
}

#[test]
fn topology_and_hosts() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "topology"),
        [
            "FROM_DPID FROM_PORT TO_DPID TO_PORT",
            "0000000000000001 2 0000000000000002 3"
        ]
    );
    let link = json!({"from_dpid": "0000000000000001", "from_port": 2, "to_dpid": "0000000000000002", "to_port": 3});
    assert_eq!(object(&fake, "topology"), json!({"topology": [link]}));
    assert_eq!(
        table(&fake, "hosts"),
        [
            "MAC VLAN DPID PORT IPS",
            "00:00:00:00:00:01 10 0000000000000001 1 10.0.0.1,10.0.0.9",
            "00:00:00:00:00:01 - 0000000000000001 2 -"
        ]
    );
    let hosts = object(&fake, "hosts");
    assert_eq!(hosts["hosts"][0]["ips"], json!(["10.0.0.1", "10.0.0.9"]));
    assert_eq!(
        (&hosts["hosts"][0]["vlan"], &hosts["hosts"][1]["vlan"]),
        (&json!(10), &json!(0))
    );
}

#[test]
fn config_get() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "config get app=router"),
        ["KEY VALUE", "weights.0000000000000001/2 5", "names.a \"b\""]
    );
    let weights = json!({"config": [{"key": "weights.0000000000000001/2", "value": 5}]});
    assert_eq!(object(&fake, "config get app=router weights"), weights);
    assert_eq!(
        object(&fake, "config get app=router names.a"),
        json!({"config": [{"key": "names.a", "value": "b"}]})
    );
    let result = fake.run("config get app=router names.b");
    assert_eq!(result.code, 1);
    assert_eq!(
        result.err,
        "morphctl: router has no configuration entry names.b\n"
    );
}

#[test]
fn config_set() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(
            &fake,
            "config set app=router weights.1/2=5 names.a=word names.b="
        ),
        [
            "REVISION KEY VALUE",
            "18 weights.1/2 5",
            "18 names.a \"word\"",
            "18 names.b -"
        ]
    );
    let request = fake.last_request();
    assert!(
        request.contains("key: \"weights.1/2\", value: \"5\""),
        "{request}"
    );
    assert!(
        request.contains("key: \"names.a\", value: \"\\\"word\\\"\""),
        "{request}"
    );
    assert!(
        request.contains("key: \"names.b\", value: \"\""),
        "{request}"
    );
    assert_eq!(
        object(&fake, "config set app=router weights.1/2={\"cost\":5}"),
        json!({"config": [{"key": "weights.1/2", "value": {"cost": 5}, "revision": 18}]})
    );
    assert_eq!(fake.run("config set app=router@2.0.0 names.a=1").code, 0);
    let request = fake.last_request();
    assert!(request.contains("version: \"2.0.0\""), "{request}");
    assert_eq!(
        table(&fake, "config delete app=router names.a weights.1/2")[1..],
        ["18 names.a -", "18 weights.1/2 -"]
    );
}

#[test]
fn an_app_is_started_with_a_configuration_file() {
    let fake = FakeMorphd::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("router.toml");
    std::fs::write(&file, "[weights]\n\"1/2\" = 5\n").unwrap();
    let line = format!("app start router --config {}", file.display());
    assert_eq!(fake.run(&line).code, 0);
    let request = fake.last_request();
    assert!(
        request.contains("config: [ConfigEntry { key: \"weights.1/2\", value: \"5\" }]"),
        "{request}"
    );
    std::fs::write(&file, "weights = 5\n").unwrap();
    let wrong = fake.run(&line);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("router.toml"), "{}", wrong.err);
    assert_eq!(fake.run("app start router --config /none").code, 2);
}

#[test]
fn store() {
    let fake = FakeMorphd::start();
    let (header, key) = (
        "TABLE KEY REVISION VALUE",
        "00:00:00:00:00:01/0000000000000001",
    );
    let row = format!("hops {key} 17 {{\"port\":2}}");
    assert_eq!(
        table(&fake, &format!("store get app=router hops {key}")),
        [header, &row]
    );
    let stored = json!({"table": "hops", "key": key, "value": {"port": 2}, "revision": 17});
    assert_eq!(
        object(&fake, "store get app=router hops k"),
        json!({"store": [stored.clone()]})
    );
    assert_eq!(
        table(&fake, "store list app=router hops 00:"),
        [header, &row]
    );
    assert_eq!(
        fake.last_request(),
        "StoreListRequest { app: \"router\", table: \"hops\", prefix: \"00:\", limit: 1000, \
         after_table: \"\", after_key: \"\" }"
    );
    assert_eq!(
        object(&fake, "store list app=router"),
        json!({"store": [stored], "more": false})
    );
    assert_eq!(
        table(&fake, "store list"),
        [
            "APP KEYSPACE SCHEMA ROLE WATERMARK MODIFIED KEYS OWNER",
            "router 3 2 primary 0 0 40 -"
        ]
    );
    assert_eq!(object(&fake, "store list")["store"][0]["role"], "primary");
}

#[test]
fn rows_are_listed_page_by_page() {
    let fake = FakeMorphd::start();
    for (limit, rows, more) in [(5, 5, false), (9, 5, false), (4, 4, true), (1, 1, true)] {
        let verb = format!("store list app=router paged --limit {limit}");
        let answer = object(&fake, &verb);
        let keys = answer["store"].as_array().unwrap().iter();
        let keys: Vec<_> = keys.map(|row| row["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["k1", "k2", "k3", "k4", "k5"][..rows], "{limit}");
        assert_eq!(answer["more"], more, "{limit}");
    }
}

#[test]
fn a_cut_list_is_marked() {
    let fake = FakeMorphd::start();
    let result = fake.run("store list app=router --limit 1 --output json");
    assert_eq!(result.code, 0);
    assert!(result.out.ends_with("\"more\":true}\n"), "{result:?}");
    assert!(result.err.contains("raise --limit"), "{result:?}");
}

#[test]
fn each_refusal_has_its_exit_code() {
    let fake = FakeMorphd::start();
    for (app, code, expected) in [
        ("absent", 1, "no app is named absent"),
        ("busy", 1, "busy is at 1.0.0 already"),
        ("twice", 1, "another digest"),
        ("invalid", 1, "the request is invalid"),
        ("away", 3, "the store is away (to fix: try again)"),
        ("readonly", 3, "--endpoint unix:"),
        ("ill", 5, "the store answered nonsense"),
    ] {
        for verb in [
            "upgrade app=",
            "commit app=",
            "rollback app=",
            "app stop ",
            "app start ",
            "app remove ",
            "app install /",
            "logs app=",
            "releases app=",
            "status --follow app=",
            "status app=",
            "config get app=",
            "config set a.b=1 app=",
            "store list app=",
        ] {
            let line = match verb {
                "config set a.b=1 app=" => format!("config set app={app} a.b=1"),
                verb => format!("{verb}{app}"),
            };
            let result = fake.run(&line);
            assert_eq!(
                (result.code, result.out.as_str()),
                (code, ""),
                "{line}: {result:?}"
            );
            assert!(
                result.err.starts_with("morphctl: ") && result.err.contains(expected),
                "{line}: {result:?}"
            );
        }
    }
}

#[test]
fn store_migrations() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "store migrations app=router"),
        [
            "APP KEYSPACE FROM TO STATUS GROUPS ROWS WATERMARK LAG LOSSY READERS INSTANCE MESSAGE",
            "router 2 1 2 filling 5/7 20 0 3 1 reader@1.0.0 9 hops/a/1: {\"port\":1} comes back as no row",
        ]
    );
    assert_eq!(
        fake.last_request(),
        "StoreMigrationsRequest { app: \"router\" }"
    );
    let shadows = object(&fake, "store migrations");
    let shadow = &shadows["migrations"][0];
    assert_eq!((&shadow["lossy"], &shadow["lag"]), (&json!(1), &json!(3)));
    let loss = json!({
        "group": "path/a", "row": "hops/a/1", "before": {"port": 1}, "after": null, "error": "",
    });
    assert_eq!(shadow["losses"], json!([loss]));
}

#[test]
fn store_stats_check_and_watch() {
    let fake = FakeMorphd::start();
    assert_eq!(
        table(&fake, "store stats"),
        [
            "REVISION DURABLE INCARNATION FORMAT APPS KEYSPACES KEYS CHECKPOINTS LEASES WATCHES BACKEND TROUBLE",
            "42 0 0 0 0 0 0 0 0 0 /state/store -",
        ]
    );
    let stats = object(&fake, "store stats");
    assert_eq!(stats["stats"][0]["revision"], json!(42));
    // A finding is a failure.
    let check = fake.run("store check");
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.out.contains("it fails its checksum"), "{check:?}");
    assert!(
        check.err.contains("damaged (errors: 1, rows checked: 3)"),
        "{check:?}"
    );
    // The stream ends, as it does when the store restarts.
    let watch = fake.run("store watch app=router");
    assert_eq!(
        (watch.code, watch.out.as_str()),
        (3, "7 hops a deleted\n"),
        "{watch:?}"
    );
}

#[test]
fn an_incomplete_backup_leaves_no_file() {
    let fake = FakeMorphd::start();
    let home = tempfile::TempDir::new().unwrap();
    let file = home.path().join("backup");
    let backup = fake.run(&format!("store backup {}", file.display()));
    assert_eq!(backup.code, 5, "{backup:?}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn wrong_usage_sends_no_request() {
    let fake = FakeMorphd::start();
    for line in [
        "upgrade router",
        "ports xyz",
        "nonsense",
        "app",
        "config set app=router weights",
    ] {
        let result = fake.run(line);
        assert_eq!(
            (result.code, result.out.as_str()),
            (2, ""),
            "{line}: {result:?}"
        );
        assert!(
            result.err.contains("--help") || result.err.contains("Usage"),
            "{result:?}"
        );
    }
}

#[test]
fn version_and_help_need_no_morphd() {
    let result = run(morphctl().arg("--version"));
    let expected = format!("morphctl {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((result.code, result.out), (0, expected));
    let result = run(morphctl().arg("--help"));
    assert_eq!(result.code, 0);
    assert!(
        result.out.contains("4  tried and rolled back")
            && result.out.contains("JSON (--output json)")
    );
}

#[test]
fn a_reader_that_goes_away_is_not_a_failure() {
    let fake = FakeMorphd::start();
    let mut child = fake
        .command("flows ff")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with("APP "), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let fake = FakeMorphd::start();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = fake.command("apps").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot be written"), "{message}");
}
