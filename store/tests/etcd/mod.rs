//! Real etcd of the test's own, on free ports of 127.0.0.1 and in a temporary directory.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends there"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// etcd with a single member.
pub struct Etcd {
    child: Option<Child>,
    pub port: u16,
    peer_port: u16,
    /// Port of the health endpoint, which has no TLS.
    health_port: u16,
    options: Vec<String>,
    tls: bool,
    home: TempDir,
}

/// Returns the etcd that all tests of this process share, each under a prefix of its own.
pub fn shared() -> &'static Etcd {
    static SHARED: OnceLock<Etcd> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());
    let _one = STARTING.lock();
    SHARED.get_or_init(|| {
        let etcd = Etcd::start(&[]);
        // A static is never dropped; the guard notices the end of its pipe when this process ends.
        let child = etcd.child.as_ref().unwrap();
        std::mem::forget(guard(child.id(), etcd.home.path()));
        etcd
    })
}

/// Returns a port on which nobody listens now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Etcd {
    /// Starts etcd with further options, and waits until it is healthy.
    pub fn start(options: &[&str]) -> Etcd {
        let mut etcd = Etcd {
            child: None,
            port: free_port(),
            peer_port: free_port(),
            health_port: free_port(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            tls: false,
            home: TempDir::new().unwrap(),
        };
        etcd.again();
        etcd
    }

    /// Starts etcd with TLS for its clients, and waits until it is healthy.
    pub fn start_tls(cert: &str, key: &str) -> Etcd {
        let mut etcd = Etcd {
            child: None,
            port: free_port(),
            peer_port: free_port(),
            health_port: free_port(),
            options: ["--cert-file", cert, "--key-file", key]
                .map(str::to_owned)
                .into(),
            tls: true,
            home: TempDir::new().unwrap(),
        };
        etcd.again();
        etcd
    }

    /// Returns the store's URL for a prefix.
    pub fn url(&self, prefix: &str) -> String {
        format!("etcd://127.0.0.1:{}/{prefix}", self.port)
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts etcd again, on the same data and port.
    pub fn again(&mut self) {
        self.spawn();
        let until = Instant::now() + SOON;
        while !healthy(&format!("127.0.0.1:{}", self.health_port)) {
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                // Another process may have taken a port meanwhile.
                let log = std::fs::read_to_string(self.home.path().join("log")).unwrap();
                panic!("etcd ended with {status}: {log}");
            }
            assert!(Instant::now() < until, "etcd is not well within {SOON:?}");
            #[allow(clippy::disallowed_methods, reason = "nothing announces it")]
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts etcd without waiting.
    pub fn spawn(&mut self) {
        let (client, peer) = (
            self.endpoint(),
            format!("http://127.0.0.1:{}", self.peer_port),
        );
        let log = std::fs::File::create(self.home.path().join("log")).unwrap();
        let mut command = member("one", self.home.path());
        command
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args([
                "--listen-metrics-urls",
                &format!("http://127.0.0.1:{}", self.health_port),
            ])
            .args(&self.options)
            .stderr(log);
        self.child = Some(command.spawn().expect("etcd is installed"));
    }

    /// Runs etcdctl on it.
    pub fn ctl(&self, args: &[&str]) -> String {
        ctl(&self.endpoint(), args)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the command that starts a member.
pub fn member(name: &str, home: &Path) -> Command {
    let mut command = Command::new("etcd");
    command
        .args(["--name", name, "--log-level", "error", "--logger", "zap"])
        .arg("--data-dir")
        .arg(home.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Starts a process that ends `pid` and removes its directory when this process ends in any way.
pub fn guard(pid: u32, home: &Path) -> Child {
    let mut guard = Command::new("sh");
    guard
        .args(["-c", "read -r _; kill -9 \"$0\"; sleep 0.1; rm -rf \"$1\""])
        .arg(pid.to_string())
        .arg(home)
        .stdin(Stdio::piped())
        .stderr(Stdio::null());
    guard.spawn().unwrap()
}

/// Runs etcdctl; returns its output, or fails the test.
pub fn ctl(endpoints: &str, args: &[&str]) -> String {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3");
    let output = command.args(["--endpoints", endpoints]).args(args).output();
    let output = output.expect("etcdctl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "etcdctl {args:?}: {text}{error}");
    text
}

/// Returns true if a member answers and has a leader.
pub fn healthy(address: &str) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}
