//! Three members, each in a network namespace of its own, on links that can be cut. The test enters an enclosing
//! namespace by running itself again, so nothing is left of it however the test ends.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends there")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::daemon::etcd;

const SOON: Duration = Duration::from_secs(30);
const INSIDE: &str = "MORPH_TEST_INSIDE";

/// Runs the named test again within namespaces of its own. Returns true in that second run.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--pid", "--mount-proc"]);
    command.args(["--fork", "--kill-child"]);
    command.arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    assert!(command.env(INSIDE, "1").status().unwrap().success());
    false
}

pub struct Three {
    members: Vec<Member>,
    home: TempDir,
}

struct Member {
    /// Process that keeps the network namespace open.
    namespace: Child,
    etcd: Option<Child>,
}

/// Returns the address of member 1, 2 or 3. The test's end of the link to member 1 is interface `v1`, at 10.77.1.1.
fn address(n: usize) -> String {
    format!("10.77.{n}.2")
}

impl Three {
    pub fn start() -> Three {
        sh("ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward");
        let mut three = Three {
            members: Vec::new(),
            home: TempDir::new().unwrap(),
        };
        for n in 1..=3 {
            let mut namespace = Command::new("unshare");
            namespace.args(["--net", "sh", "-c", "echo up; exec sleep infinity"]);
            let mut namespace = namespace.stdout(Stdio::piped()).spawn().unwrap();
            let mut output = [0; 3];
            std::io::Read::read_exact(namespace.stdout.as_mut().unwrap(), &mut output).unwrap();
            let pid = namespace.id();
            sh(&format!(
                "ip link add v{n} type veth peer name e netns {pid}
                 ip addr add 10.77.{n}.1/24 dev v{n}; ip link set v{n} up
                 nsenter -t {pid} -n sh -euc 'ip link set lo up; ip addr add {}/24 dev e
                     ip link set e up; ip route add default via 10.77.{n}.1'",
                address(n)
            ));
            let etcd = None;
            three.members.push(Member { namespace, etcd });
        }
        (1..=3).for_each(|n| three.spawn(n));
        three.wait_healthy(&[1, 2, 3]);
        three
    }

    pub fn url(&self, prefix: &str) -> String {
        let all: Vec<String> = (1..=3).map(address).collect();
        format!("etcd://{}/{prefix}", all.join(","))
    }

    pub fn spawn(&mut self, n: usize) {
        let member = &mut self.members[n - 1];
        let home = self.home.path().join(n.to_string());
        std::fs::create_dir_all(&home).unwrap();
        let (client, peer) = (endpoint(n), format!("http://{}:2380", address(n)));
        let cluster: Vec<String> = (1..=3)
            .map(|n| format!("{n}=http://{}:2380", address(n)))
            .collect();
        let etcd = etcd::member(&n.to_string(), &home);
        let mut command = Command::new("nsenter");
        command.args(["-t", &member.namespace.id().to_string(), "-n", "--"]);
        command.arg(etcd.get_program()).args(etcd.get_args());
        command.args(["--listen-client-urls", &client]);
        command.args(["--advertise-client-urls", &client]);
        command.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        let log = std::fs::File::create(home.join("log")).unwrap();
        command.stdin(Stdio::null()).stderr(log);
        member.etcd = Some(command.spawn().unwrap());
    }

    pub fn wait_healthy(&self, which: &[usize]) {
        let until = Instant::now() + SOON;
        for n in which {
            while !etcd::healthy(&format!("{}:2379", address(*n))) {
                assert!(Instant::now() < until, "member {n} is not well");
                #[allow(clippy::disallowed_methods, reason = "nothing announces it")]
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    pub fn kill(&mut self, n: usize) {
        if let Some(mut child) = self.members[n - 1].etcd.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Returns the leader according to the other members.
    pub fn leader(&self) -> usize {
        for n in 1..=3 {
            if !etcd::healthy(&format!("{}:2379", address(n))) {
                continue;
            }
            let output = etcd::ctl(&endpoint(n), &["endpoint", "status", "-w", "json"]);
            let output: serde_json::Value = serde_json::from_str(&output).unwrap();
            let status = &output[0]["Status"];
            if status["leader"] == status["header"]["member_id"] {
                return n;
            }
        }
        panic!("nobody leads");
    }

    /// Cuts a member off from the others. Its clients stay connected.
    pub fn isolate(&self, n: usize) {
        sh(&format!("ip rule add pref 100 iif v{n} blackhole"));
        for other in (1..=3).filter(|other| *other != n) {
            let to = address(n);
            sh(&format!(
                "ip rule add pref 100 iif v{other} to {to} blackhole"
            ));
        }
        sh("ip route flush cache");
    }

    /// Connects all members again.
    pub fn heal(&self) {
        sh("while ip rule del pref 100 2>/dev/null; do :; done; ip route flush cache");
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        for n in 1..=3.min(self.members.len()) {
            self.kill(n);
        }
        for member in &mut self.members {
            // The process may have ended already.
            let _ = member.namespace.kill();
            let _ = member.namespace.wait();
        }
    }
}

fn endpoint(n: usize) -> String {
    format!("http://{}:2379", address(n))
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-euc", script]).status().unwrap();
    assert!(status.success(), "{script}");
}
