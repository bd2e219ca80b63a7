//! A private Open vSwitch, and an OpenFlow connection to it.
//!
//! Database, sockets and logs are in a folder of their own; the datapath is the userspace one, in a network namespace of
//! its own. Everything ends when the value is dropped or its thread ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use morph_openflow::frame;
use morph_openflow::v13::{
    ErrorMsg, FlowMod, FlowStats, FlowStatsRequest, Hello, Message, MultipartBody, MultipartReply,
    MultipartRequest, decode,
};
use tempfile::TempDir;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Deadline of each wait; starting takes about one second.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Switch {
    processes: Vec<Child>,
    dir: TempDir,
}

impl Switch {
    /// Reason why the switch cannot be started here, if any.
    pub(crate) fn missing() -> Option<String> {
        let there = |tool: &str| {
            ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
                .iter()
                .any(|dir| Path::new(dir).join(tool).exists())
        };
        let tools = ["ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovsdb-tool"];
        let tools = tools.into_iter().chain(["unshare", "setpriv"]);
        if let Some(tool) = tools.into_iter().find(|tool| !there(tool)) {
            return Some(format!("{tool} is not installed"));
        }
        let may = Command::new("unshare").args(["-n", "true"]).status();
        match may.is_ok_and(|status| status.success()) {
            true => None,
            false => Some("cannot create a network namespace".into()),
        }
    }

    pub(crate) fn start() -> Switch {
        let dir = tempfile::Builder::new().prefix("ovs").tempdir().unwrap();
        let mut switch = Switch {
            processes: Vec::new(),
            dir,
        };
        let [database, socket] = ["conf.db", "db.sock"].map(|name| switch.path(name));
        let remote = format!("unix:{socket}");
        switch.run(&["ovsdb-tool", "create", &database, SCHEMA]);
        switch.spawn(&[
            "ovsdb-server",
            &database,
            &format!("--remote=punix:{socket}"),
            &format!("--unixctl={}", switch.path("ovsdb.ctl")),
        ]);
        switch.spawn(&[
            "unshare",
            "-n",
            "ovs-vswitchd",
            &remote,
            &format!("--unixctl={}", switch.path("vswitchd.ctl")),
        ]);
        let netdev = "set Bridge br0 datapath_type=netdev protocols=OpenFlow13 fail_mode=secure";
        let mut add = vec!["--no-wait", "init", "--", "add-br", "br0", "--"];
        add.extend(netdev.split(' '));
        switch.vsctl(&add);
        switch.vsctl(&["wait-until", "Bridge", "br0", "datapath_id!=[]"]);
        switch
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        for name in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
            command.env(name, self.dir.path());
        }
        command.args(&words[1..]);
        command.stdin(Stdio::null());
        command
    }

    /// Runs one command of `ovs-vsctl`.
    pub(crate) fn vsctl(&self, words: &[&str]) {
        let db = format!("--db=unix:{}", self.path("db.sock"));
        let seconds = format!("--timeout={}", DEADLINE.as_secs());
        let mut command = vec!["ovs-vsctl", "--retry", &seconds, &db];
        command.extend(words);
        self.run(&command);
    }

    fn run(&self, words: &[&str]) {
        let output = self.command(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {text}");
    }

    fn spawn(&mut self, words: &[&str]) {
        let mut all = vec!["setpriv", "--pdeathsig", "KILL", "--"];
        all.extend(words);
        let mut command = self.command(&all);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(command.spawn().unwrap());
    }

    /// Connects to the socket on which the bridge accepts management connections.
    pub(crate) fn connect(&self) -> Connection {
        let stream = UnixStream::connect(self.path("br0.mgmt")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut connection = Connection {
            stream,
            buffer: BytesMut::new(),
            xid: 0,
        };
        connection.send(&Message::Hello(Hello::V13));
        let hello = connection.receive().1;
        assert!(matches!(hello, Message::Hello(_)), "{hello:?}");
        connection
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

pub(crate) struct Connection {
    stream: UnixStream,
    buffer: BytesMut,
    xid: u32,
}

impl Connection {
    /// Sends a message under a new xid, which is returned.
    pub(crate) fn send(&mut self, message: &Message) -> u32 {
        self.xid += 1;
        let frame = message.try_encode(self.xid).unwrap();
        self.stream.write_all(&frame).unwrap();
        self.xid
    }

    /// Receives the next message other than an echo request. Every frame must be encoded as it was received.
    pub(crate) fn receive(&mut self) -> (u32, Message) {
        loop {
            let frame = match frame::split(&mut self.buffer).unwrap() {
                Some(frame) => frame,
                None => {
                    let mut chunk = [0; 4096];
                    let n = self.stream.read(&mut chunk).expect("an answer in time");
                    assert!(n > 0, "the switch closed the connection");
                    self.buffer.extend_from_slice(&chunk[..n]);
                    continue;
                }
            };
            let (header, message) = decode(&frame).unwrap();
            if !matches!(message, Message::Hello(_)) {
                let again = message.encode(header.xid);
                assert_eq!(again, frame, "{message:?} is not written as it was read");
            }
            match message {
                Message::EchoRequest(data) => {
                    let reply = Message::EchoReply(data).encode(header.xid);
                    self.stream.write_all(&reply).unwrap();
                }
                message => return (header.xid, message),
            }
        }
    }

    /// Xid that the next message will be sent with.
    pub(crate) fn next_xid(&self) -> u32 {
        self.xid + 1
    }

    /// Sends a flow-mod and waits until it is applied or refused.
    pub(crate) fn flow_mod(&mut self, flow_mod: &FlowMod) -> Result<(), ErrorMsg> {
        self.change(&Message::FlowMod(flow_mod.clone()))
    }

    /// Sends a message that has no reply, and waits until it is applied or refused.
    pub(crate) fn change(&mut self, message: &Message) -> Result<(), ErrorMsg> {
        self.send(message);
        let barrier = self.send(&Message::BarrierRequest);
        let mut result = Ok(());
        loop {
            match self.receive() {
                (xid, Message::BarrierReply) if xid == barrier => return result,
                (_, Message::Error(error)) => result = Err(error),
                (_, other) => panic!("{other:?} before the barrier's reply"),
            }
        }
    }

    /// Receives messages until `wanted` accepts one.
    pub(crate) fn expect<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
        loop {
            if let Some(value) = wanted(self.receive().1) {
                return value;
            }
        }
    }

    /// Requests a multipart and collects all parts of the reply.
    pub(crate) fn multipart(&mut self, request: MultipartRequest) -> Vec<MultipartBody> {
        let request_xid = self.send(&Message::MultipartRequest(request));
        let mut bodies = Vec::new();
        loop {
            match self.receive() {
                (xid, Message::MultipartReply(MultipartReply { more, body }))
                    if xid == request_xid =>
                {
                    bodies.push(body);
                    if !more {
                        return bodies;
                    }
                }
                (_, other) => panic!("{other:?} instead of a multipart reply"),
            }
        }
    }

    pub(crate) fn rules(&mut self, request: FlowStatsRequest) -> Vec<FlowStats> {
        let bodies = self.multipart(MultipartRequest::Flow(request));
        bodies
            .into_iter()
            .flat_map(|body| match body {
                MultipartBody::Flow(rules) => rules,
                other => panic!("{other:?} instead of rules"),
            })
            .collect()
    }
}
