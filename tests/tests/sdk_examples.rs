//! Examples of the SDK on Open vSwitch: all that a rule can say is read back as it was said, and what applications make of it
//! works for real hosts.

use anyhow::{Context, Result, ensure};
use morph_tests::{Bundle, Lab, Shape, bin, repository, touched, wait_until};
use std::process::Stdio;
use std::time::Duration;

/// Id of the app `every-action`.
const EVERY_ACTION: u8 = 20;
/// Number 0 among its groups.
const FIRST_GROUP: u32 = 20 << 24;
const SPREADER: u8 = 22;
const PYTHON: &str = "/usr/bin/python3";
const SOON: Duration = Duration::from_secs(20);

/// Bundle of an example of the SDK.
fn example(lab: &Lab, name: &str, version: &str) -> Result<Bundle> {
    let manifest = repository().join(format!("apps/sdk/examples/{name}/app.toml"));
    let program = bin(&format!("examples/{name}"))?;
    Bundle::assemble(&manifest, &program, lab.dir(), &format!("{name}-{version}"))?
        .set("version", &format!("\"{version}\""))
}

fn install(lab: &Lab, name: &str, version: &str) -> Result<()> {
    let bundle = example(lab, name, version)?;
    lab.morpheus()?
        .morphctl(&["app", "install", bundle.path()?])?;
    Ok(())
}

fn start(lab: &Lab, name: &str) -> Result<()> {
    install(lab, name, "1.0.0")?;
    let app = name.replace('_', "-");
    lab.morpheus()?.morphctl(&["app", "start", &app])?;
    lab.morpheus()?.wait_running(&app, None)?;
    Ok(())
}

fn remove(lab: &Lab, name: &str) -> Result<()> {
    let app = name.replace('_', "-");
    lab.morpheus()?.morphctl(&["app", "remove", &app])?;
    Ok(())
}

/// Runs a Python script on a host until it ends; returns what it printed.
fn python(lab: &Lab, host: usize, script: &str) -> Result<String> {
    let mut command = lab.sandbox().host_command(&format!("h{host}"), PYTHON);
    let output = command.args(["-c", script]).output()?;
    ensure!(output.status.success(), "{script}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// UDP and TCP servers on a host that tell each client the address it came from; over TCP also the server's host.
struct Mirror(std::process::Child);

impl Mirror {
    fn start(lab: &Lab, host: usize, port: u16) -> Result<Self> {
        let script = format!(
            "import socket, threading\n\
             udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
             udp.bind(('0.0.0.0', {port}))\n\
             tcp = socket.create_server(('0.0.0.0', {port}))\n\
             def serve():\n    \
                 while True:\n        \
                     client, address = tcp.accept()\n        \
                     client.sendall(('h{host} ' + address[0]).encode())\n        \
                     client.close()\n\
             threading.Thread(target=serve, daemon=True).start()\n\
             print('ready', flush=True)\n\
             while True:\n    \
                 _, address = udp.recvfrom(100)\n    \
                 udp.sendto(address[0].encode(), address)\n"
        );
        let mut command = lab.sandbox().host_command(&format!("h{host}"), PYTHON);
        let mut child = command
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line)?;
        ensure!(
            line == "ready\n",
            "the server on h{host} did not start: {line}"
        );
        Ok(Self(child))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_rules_say_is_read_back_as_it_was_said() -> Result<()> {
    let mut lab = Lab::new(Shape::single(3))?;
    // Without bundles no other app is started.
    let bundles = lab.dir().join("none").display().to_string();
    std::fs::create_dir(&bundles)?;
    lab.start_morpheus(&["--bundles", &bundles])?;
    lab.attach()?;
    lab.morpheus()?.wait_switches(1)?;
    start(&lab, "every_action")?;
    let rules = wait_until("the switch has the rules", SOON, || {
        let rules = lab.rules(EVERY_ACTION)?;
        let is_all = sent(&lab)? == [rules.len() as u64, 4, 2];
        Ok((rules.len() > 50 && is_all).then_some(rules))
    })?;
    let entries = entries(&lab)?;
    ensure!(entries.len() == 6, "{entries:?}");

    // Another instance reads them, and finds nothing to do.
    install(&lab, "every_action", "1.0.1")?;
    let status = lab.upgrade_and_commit("every-action", "1.0.1")?;
    let counts = [
        "rules_added",
        "rules_changed",
        "rules_removed",
        "rules_unchanged",
    ];
    let counts = counts.map(|key| status[key].as_u64().unwrap_or_default());
    ensure!(counts == [0, 0, 0, rules.len() as u64], "{status}");
    let sent_since = sent(&lab)?;
    ensure!(
        sent_since == [rules.len() as u64, 4, 2],
        "{sent_since:?} were sent"
    );
    ensure!(lab.rules(EVERY_ACTION)?.keys().eq(rules.keys()));

    // The switch deletes the rules that use a group with it.
    lab.ovs().ofctl(
        "del-groups",
        "s1",
        &[&format!("group_id={}", FIRST_GROUP + 1)],
    )?;
    wait_until("group and rule are back", SOON, || {
        let is_back = lab.rules(EVERY_ACTION)?.keys().eq(rules.keys());
        Ok((is_back && self::entries(&lab)? == entries).then_some(()))
    })?;
    remove(&lab, "every_action")?;
    ensure!(self::entries(&lab)?.is_empty() && lab.rules(EVERY_ACTION)?.is_empty());
    nat_gateway(&lab)?;
    spreader(&lab)?;
    lab.finish()
}

/// Numbers of flow-mods, group-mods and meter-mods that the proxy has forwarded for every-action.
fn sent(lab: &Lab) -> Result<[u64; 3]> {
    let app = lab.morpheus()?.app("every-action")?;
    let keys = ["flow_mods", "group_mods", "meter_mods"];
    Ok(keys.map(|key| app[key].as_u64().unwrap_or_default()))
}

/// Groups and meters of s1, in the notation of `ovs-ofctl`.
fn entries(lab: &Lab) -> Result<Vec<String>> {
    let groups = lab.ovs().ofctl("dump-groups", "s1", &[])?;
    let meters = lab.ovs().ofctl("dump-meters", "s1", &[])?;
    let lines = groups.lines().chain(meters.lines()).map(str::trim);
    let is_entry = |line: &&str| line.starts_with("group_id=") || line.starts_with("meter=");
    let mut entries: Vec<String> = lines.filter(is_entry).map(str::to_owned).collect();
    entries.sort();
    Ok(entries)
}

/// Connections of h1 to one address reach h2 and h3, and h2 alone once h3 has no weight; only the group changes then.
fn spreader(lab: &Lab) -> Result<()> {
    let _servers = [Mirror::start(lab, 2, 7001)?, Mirror::start(lab, 3, 7001)?];
    start(lab, "spreader")?;
    let set = |row: &str| {
        lab.morpheus()?
            .morphctl(&["config", "set", "app=spreader", row])
    };
    let server = |host: u32, weight: u32| {
        set(&format!(
            "servers.1/{host}={{\"address\": \"10.0.0.{host}\", \"mac\": \"02:00:00:00:00:0{host}\", \"weight\": {weight}}}"
        ))
    };
    server(2, 1)?;
    server(3, 1)?;
    set(
        r#"services.0000000000000001={"address": "10.0.0.100", "mac": "02:00:00:00:01:00", "clients": 1}"#,
    )?;
    let connect = |count: usize| {
        let script = format!(
            "import socket\n\
             for _ in range({count}):\n    \
                 c = socket.create_connection(('10.0.0.100', 7001), timeout=5)\n    \
                 print(c.recv(100).decode())\n    \
                 c.close()"
        );
        python(lab, 1, &script)
    };
    wait_until("a connection is served", SOON, || Ok(connect(1).ok()))?;
    let seen = connect(40)?;
    for server in ["h2 10.0.0.1", "h3 10.0.0.1"] {
        ensure!(
            seen.lines().any(|line| line == server),
            "{server} is not among {seen}"
        );
    }
    let before = lab.rules(SPREADER)?;
    server(3, 0)?;
    wait_until("h2 serves alone", SOON, || {
        let seen = connect(20)?;
        Ok((!seen.contains("h3")).then_some(()))
    })?;
    let (touched, in_both) = touched(&before, &lab.rules(SPREADER)?);
    ensure!(touched.is_empty() && in_both == before.len(), "{touched:?}");
    remove(lab, "spreader")?;
    ensure!(entries(lab)?.is_empty());
    Ok(())
}

/// Connections of h1 reach h2 with the gateway's address, and the answers come back.
fn nat_gateway(lab: &Lab) -> Result<()> {
    lab.set_static_arp()?;
    let _mirror = Mirror::start(lab, 2, 7000)?;
    start(lab, "nat_gateway")?;
    let gateway =
        r#"{"inside": 1, "outside": 2, "address": "10.0.0.100", "mac": "02:00:00:00:01:00"}"#;
    let row = format!("gateways.0000000000000001={gateway}");
    let set = ["config", "set", "app=nat-gateway", &row];
    lab.morpheus()?.morphctl(&set)?;
    let tcp = "import socket\n\
               c = socket.create_connection(('10.0.0.2', 7000), timeout=5)\n\
               print(c.recv(100).decode())";
    let udp = "import socket\n\
               c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
               c.settimeout(5)\n\
               for _ in range(3):\n    \
                   c.sendto(b'x', ('10.0.0.2', 7000))\n    \
                   print(c.recv(100).decode())";
    let seen = wait_until("a connection leaves", SOON, || Ok(python(lab, 1, tcp).ok()))?;
    ensure!(seen == "h2 10.0.0.100", "h2 saw {seen}");
    let seen = python(lab, 1, udp)?;
    ensure!(
        seen == "10.0.0.100\n10.0.0.100\n10.0.0.100",
        "h2 saw {seen}"
    );
    remove(lab, "nat_gateway")
}
