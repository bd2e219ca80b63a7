//! Tests with Open vSwitch: bridges attach, receive their pipeline, and keep their rules when the proxy is replaced.
//! They use the dummy datapath in a directory of its own, and no kernel interface or system service.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use morph_api::Role;
use morph_api::supervisor::FlowsRequest;

use crate::deadline::eventually;
use crate::fixture::{APPS, Fixture};

struct Ovs {
    dir: tempfile::TempDir,
    daemons: Vec<Child>,
}

fn schema() -> PathBuf {
    PathBuf::from("/usr/share/openvswitch/vswitch.ovsschema")
}

impl Ovs {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ovs = Ovs {
            dir,
            daemons: Vec::new(),
        };
        let path = |name: &str| ovs.dir.path().join(name).display().to_string();
        let db = path("conf.db");
        ovs.run(
            "ovsdb-tool",
            &["create", &db, &schema().display().to_string()],
        );
        let remote = format!("--remote=punix:{}", path("db.sock"));
        let control = format!("--unixctl={}", path("db.ctl"));
        let server = ovs.spawn("ovsdb-server", &[&db, &remote, &control]);
        ovs.daemons.push(server);
        eventually("ovsdb-server", async || {
            ovs.dir.path().join("db.sock").exists().then_some(())
        })
        .await;
        ovs.vsctl(&["--no-wait", "init"]);
        let database = format!("unix:{}", ovs.dir.path().join("db.sock").display());
        let control = format!(
            "--unixctl={}",
            ovs.dir.path().join("vswitchd.ctl").display()
        );
        let switch = ovs.spawn(
            "ovs-vswitchd",
            &["--enable-dummy", "--disable-system", &control, &database],
        );
        ovs.daemons.push(switch);
        ovs
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.path();
        command
            .env("OVS_RUNDIR", dir)
            .env("OVS_LOGDIR", dir)
            .env("OVS_DBDIR", dir)
            .current_dir(dir);
        command
    }

    fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn spawn(&self, program: &str, args: &[&str]) -> Child {
        let log = std::fs::File::create(self.dir.path().join(format!("{program}.log"))).unwrap();
        let mut command = self.command(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().unwrap()
    }

    fn vsctl(&self, args: &[&str]) -> String {
        let database = format!("--db=unix:{}", self.dir.path().join("db.sock").display());
        let args: Vec<&str> = ["--timeout=10", &database]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        self.run("ovs-vsctl", &args)
    }

    /// Lists the rules as `ovs-ofctl` shows them, without counters.
    fn flows(&self, bridge: &str) -> Vec<String> {
        let target = self
            .dir
            .path()
            .join(format!("{bridge}.mgmt"))
            .display()
            .to_string();
        let shown = self.run("ovs-ofctl", &["-O", "OpenFlow13", "dump-flows", &target]);
        let rules = shown.lines().filter(|line| line.contains("cookie="));
        rules.map(|rule| rule.trim().to_owned()).collect()
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn without_counters(rules: &[String]) -> Vec<String> {
    let strip = |rule: &String| {
        let fields = rule
            .split(", ")
            .filter(|field| !field.contains("duration=") && !field.contains("n_"));
        fields.collect::<Vec<_>>().join(" ")
    };
    let mut rules: Vec<String> = rules.iter().map(strip).collect();
    rules.sort();
    rules
}

fn durations(rules: &[String]) -> Vec<f64> {
    let duration = |rule: &String| {
        let (_, after) = rule.split_once("duration=").unwrap();
        after.split_once('s').unwrap().0.parse().unwrap()
    };
    rules.iter().map(duration).collect()
}

#[tokio::test]
async fn bridges_attach_with_any_protocols_and_their_rules_outlive_the_proxy() {
    if !Path::new(&schema()).exists() {
        panic!("Open vSwitch is needed: apt install openvswitch-switch");
    }
    let mut fixture = Fixture::new().await;
    let ovs = Ovs::start().await;
    let target = format!("tcp:{}", fixture.address);
    for (index, protocols) in ["[]", "[OpenFlow13]"].into_iter().enumerate() {
        let name = format!("br{index}");
        let dpid = format!("other_config:datapath-id=000000000000000{}", index + 1);
        ovs.vsctl(&[
            "add-br",
            &name,
            "--",
            "set",
            "bridge",
            &name,
            "datapath_type=dummy",
            "fail_mode=secure",
            &dpid,
        ]);
        ovs.vsctl(&["set", "bridge", &name, &format!("protocols={protocols}")]);
        ovs.vsctl(&[
            "set-controller",
            &name,
            &target,
            "--",
            "set",
            "controller",
            &name,
            "inactivity_probe=1000",
        ]);
    }
    let flows = async |dpid: u64| {
        let reply = fixture
            .control
            .clone()
            .flows(FlowsRequest { dpid })
            .await
            .ok()?;
        let flows = reply.into_inner().flows;
        (flows.len() == 4).then_some(flows)
    };
    for dpid in [1, 2] {
        eventually("the pipeline", async || flows(dpid).await).await;
    }
    let wanted = [
        "cookie=0x4d00000000000000 table=0 priority=0 actions=goto_table:2",
        "cookie=0x4d00000000000000 table=19 priority=0 actions=drop",
        "cookie=0x4d00000000000000 table=9 priority=0 actions=goto_table:10",
        "cookie=0x4d02000000000000 table=0 priority=65535,dl_type=0x88cc actions=CONTROLLER:65535",
    ];
    let found = without_counters(&ovs.flows("br1"));
    let found: Vec<String> = found
        .iter()
        .map(|rule| rule.replace(" reset_counts", ""))
        .collect();
    assert_eq!(found, wanted);
    // The bridges stay connected: probes of 1 s are answered.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let switches = fixture.switches().await;
    assert_eq!(switches.len(), 2);
    assert!(
        switches
            .iter()
            .all(|switch| switch.disconnects == 0 && switch.connected_ms > 3000)
    );
    assert!(switches[0].manufacturer.contains("Nicira"), "{switches:?}");
    assert!(switches.iter().all(|switch| switch.role == "equal"));
    // A new proxy sends no rule again.
    let before = durations(&ovs.flows("br1"));
    fixture.stop_proxy().await;
    fixture.start_proxy().await;
    fixture.configure(&APPS).await;
    eventually("both bridges", async || {
        (fixture.switches().await.len() == 2).then_some(())
    })
    .await;
    eventually("the pipeline", async || {
        fixture
            .control
            .clone()
            .flows(FlowsRequest { dpid: 2 })
            .await
            .ok()
    })
    .await;
    let after = durations(&ovs.flows("br1"));
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| after > before),
        "{before:?} {after:?}"
    );
    assert_eq!(after.len(), 4);
}

impl Ovs {
    /// Creates a bridge that attaches to these proxies and reports on them every second.
    fn bridge(&self, name: &str, dpid: u64, protocols: &str, targets: &[String]) {
        let id = format!("other_config:datapath-id={dpid:016x}");
        let protocols = format!("protocols={protocols}");
        let row = ["set", "bridge", name, "datapath_type=dummy"];
        let add = [
            &["add-br", name, "--"],
            &row[..],
            &["fail_mode=secure", &id, &protocols],
        ];
        self.vsctl(&add.concat());
        let targets = targets.iter().map(String::as_str);
        let set: Vec<&str> = ["set-controller", name]
            .into_iter()
            .chain(targets)
            .collect();
        self.vsctl(&set);
    }

    /// Returns the role of the controller at this address, as the switch reports it.
    fn role(&self, target: &str) -> String {
        let target = format!("target={}", target.replace(':', "\\:"));
        let found = self.vsctl(&["--bare", "--columns=role", "find", "controller", &target]);
        found.trim().to_owned()
    }
}

#[tokio::test]
async fn the_switch_reports_the_role_that_the_proxy_requested() {
    let ovs = Ovs::start().await;
    let equal = Fixture::new().await;
    let mut master = Fixture::with_role(Role::Master).await;
    // Second election of its node.
    master.stop_proxy().await;
    master.start_proxy().await;
    master.configure(&APPS).await;
    let slave = Fixture::with_role(Role::Slave).await;
    let houses = [
        (&equal, "other", "equal"),
        (&master, "master", "master"),
        (&slave, "slave", "slave"),
    ];
    let target = |fixture: &Fixture| format!("tcp:{}", fixture.address);
    let targets = houses.map(|(fixture, ..)| target(fixture));
    ovs.bridge("br0", 1, "[OpenFlow13]", &targets);
    // OpenFlow 1.0, with Nicira's role messages.
    let old = Fixture::with_role(Role::Master).await;
    old.configure(&[("learning-switch", 1, 10, 19)]).await;
    ovs.bridge("br1", 2, "[OpenFlow10]", &[target(&old)]);
    for (fixture, there, here) in houses.into_iter().chain([(&old, "master", "master")]) {
        eventually(&format!("role {here}"), async || {
            let switches = fixture.switches().await;
            switches.first().filter(|s| s.role == here).map(drop)
        })
        .await;
        eventually(&format!("role {there} at the switch"), async || {
            (ovs.role(&target(fixture)) == there).then_some(())
        })
        .await;
    }
    // A slave reads, but does not write its rules.
    let slave_sees = slave.control.clone().flows(FlowsRequest { dpid: 1 }).await;
    assert_eq!(slave_sees.unwrap().into_inner().flows.len(), 4);
    assert_eq!(slave.switches().await[0].errors, 0, "it has tried nothing");

    // A third proxy becomes master with an older election: it reads the newest generation and takes over. The former
    // master notices when a write is refused, and stops.
    let third = Fixture::with_role(Role::Master).await;
    ovs.vsctl(&["set-controller", "br0", &target(&master), &target(&third)]);
    eventually("the third", async || {
        (ovs.role(&target(&third)) == "master").then_some(())
    })
    .await;
    master.configure(&[("topology", 2, 2, 9)]).await;
    eventually("the fall", async || {
        (master.switches().await.first()?.role == "slave").then_some(())
    })
    .await;
}
