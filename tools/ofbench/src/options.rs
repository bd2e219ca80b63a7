//! The command line.

use crate::output::die;
use crate::wire;

pub(crate) const USAGE: &str = "\
ofbench - OpenFlow controller load generator (fake switches sending packet-ins)

usage: ofbench [--host 127.0.0.1] [--port 6653] [--of 1.3|1.0] [--mode throughput|latency|idle]
               [--switches 1] [--macs N] [--window N|full] [--seconds 10] [--warmup 2]
               [--buffer id|none] [--unknown-pct 0] [--rate N] [--interval-ms 1000] [--timeout-ms 1000]
               [--frame-len 64] [--vlan 0] [--ports 4] [--tables 16] [--dpid 1] [--table-id 0] [--reason 0] [--cookie auto|N]
               [--settle-ms 300] [--ready-timeout 30] [--connect-gap-ms 0] [--reconnect] [--spin on|off|auto] [--label TEXT] [--verbose]
               [--known] [--once] [--linger 0] [--flood-at S --flood-seconds S] [--watch PID,PID] [--announce]

  throughput  every switch keeps up to --window packet-ins unanswered (default 4096,
              but at most 16384 over all switches and not under 128, and at most half of --macs)
  idle        no packet-ins once all switches are ready
  --window full   as many as the socket takes, at most half of --macs (as cbench does)
  latency     one packet-in unanswered per switch (--window is 1)
  --rate N    open loop: N packet-ins/s over all switches; latency counts from the intended send time; --window caps (default 100000)
  --buffer id   packet-ins carry a buffer id (as cbench does); none: OFP_NO_BUFFER, whole frame (as Open vSwitch does)
  --macs      source MAC addresses per switch, used in turn; the destination is one learned host per switch
              (default 1000; in throughput mode twice --window if that is more, and 131072 with --window full)
  --unknown-pct   share of packet-ins whose destination was never seen (a learning switch floods those)
  --known     the warm-up lasts until every address was sent once, 60 s at most
  --once      every address once, without a warm-up; ends when all are answered, or after --seconds
  --linger S  afterwards, keep the connections for so long, and count what is answered until then
  --flood-at, --flood-seconds   with --rate: the first switch sends nothing but a flood, as fast as its socket takes, from the first
              time on for the second, in seconds of the measurement; --rate is that of the others, who alone are measured
  --watch     processes whose processor time and memory during the measurement are reported
  --announce  prints a line of JSON when the measurement begins
  --reconnect keep going when the controller goes away, and report disconnects and gaps

One packet-in counts once, when the first FLOW_MOD or PACKET_OUT that refers to it arrives (by buffer id, by the
tag in the packet-out's frame, or by the Ethernet addresses of the flow-mod's match). LLDP/BDDP never counts.
The last line on stdout is one JSON object. Exit status: 0 measured, 2 not every switch became ready, 1 other failure.";

/// Unanswered packet-ins per switch in throughput mode unless --window says otherwise, and over all switches. More
/// over all switches would keep a slow controller's answers beyond --timeout-ms.
pub(crate) const WINDOW: u32 = 4096;
pub(crate) const WINDOW_ALL: u32 = 16384;
/// Value of `--window full` until --macs is known.
pub(crate) const WINDOW_FULL: u32 = u32::MAX;

#[derive(Clone, PartialEq)]
pub(crate) enum Spin {
    On,
    Off,
    Auto,
}

#[derive(Clone)]
pub(crate) struct Opt {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) version: u8,
    pub(crate) latency: bool,
    pub(crate) idle: bool,
    pub(crate) switches: usize,
    pub(crate) macs: u32,
    pub(crate) window: u32,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    pub(crate) buffer: bool,
    pub(crate) unknown_pct: u32,
    pub(crate) rate: f64,
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) frame_len: usize,
    pub(crate) vlan: u16,
    pub(crate) ports: u32,
    pub(crate) tables: u8,
    pub(crate) dpid: u64,
    pub(crate) table_id: u8,
    pub(crate) reason: u8,
    pub(crate) cookie: Option<u64>,
    pub(crate) settle_ms: u64,
    pub(crate) ready_timeout: f64,
    pub(crate) connect_gap_ms: u64,
    pub(crate) reconnect: bool,
    pub(crate) spin: Spin,
    pub(crate) label: String,
    pub(crate) verbose: bool,
    pub(crate) known: bool,
    pub(crate) once: bool,
    pub(crate) announce: bool,
    pub(crate) linger: f64,
    pub(crate) flood_at: f64,
    /// Length of the flood; 0: none.
    pub(crate) flood_seconds: f64,
    pub(crate) watch: Vec<u32>,
}

pub(crate) fn parse_args() -> Opt {
    let mut o = Opt {
        host: "127.0.0.1".into(),
        port: 6653,
        version: wire::V13,
        latency: false,
        idle: false,
        switches: 1,
        macs: 0,
        window: 0,
        seconds: 10.0,
        warmup: 2.0,
        buffer: true,
        unknown_pct: 0,
        rate: 0.0,
        interval_ms: 1000,
        timeout_ms: 1000,
        frame_len: 64,
        vlan: 0,
        ports: 4,
        tables: 16,
        dpid: 1,
        table_id: 0,
        reason: 0,
        cookie: None,
        settle_ms: 300,
        ready_timeout: 30.0,
        connect_gap_ms: 0,
        reconnect: false,
        spin: Spin::Auto,
        label: String::new(),
        verbose: false,
        known: false,
        once: false,
        announce: false,
        linger: 0.0,
        flood_at: 0.0,
        flood_seconds: 0.0,
        watch: Vec::new(),
    };
    fn num<T: std::str::FromStr>(k: &str, v: &str) -> T {
        v.parse()
            .unwrap_or_else(|_| die(&format!("{k}: '{v}' is not a number that fits")))
    }
    let mut it = std::env::args().skip(1);
    while let Some(k) = it.next() {
        match k.as_str() {
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0)
            }
            "--reconnect" => {
                o.reconnect = true;
                continue;
            }
            "--known" => {
                o.known = true;
                continue;
            }
            "--announce" => {
                o.announce = true;
                continue;
            }
            "--once" => {
                o.once = true;
                continue;
            }
            "--verbose" => {
                o.verbose = true;
                continue;
            }
            _ => {}
        }
        let Some(v) = it.next() else {
            die(&format!("{k} needs a value (or is unknown); try --help"))
        };
        match k.as_str() {
            "--host" => o.host = v,
            "--port" => o.port = num(&k, &v),
            "--of" => {
                o.version = match v.as_str() {
                    "1.0" | "10" => wire::V10,
                    "1.3" | "13" => wire::V13,
                    _ => die("--of is 1.0 or 1.3"),
                }
            }
            "--mode" => {
                (o.latency, o.idle) = match v.as_str() {
                    "throughput" | "thr" => (false, false),
                    "latency" | "lat" => (true, false),
                    "idle" => (false, true),
                    _ => die("--mode is throughput, latency or idle"),
                }
            }
            "--switches" => o.switches = num(&k, &v),
            "--macs" => o.macs = num(&k, &v),
            "--window" => {
                o.window = if v == "full" {
                    WINDOW_FULL
                } else {
                    num(&k, &v)
                }
            }
            "--seconds" => o.seconds = num(&k, &v),
            "--warmup" => o.warmup = num(&k, &v),
            "--buffer" => {
                o.buffer = match v.as_str() {
                    "id" => true,
                    "none" => false,
                    _ => die("--buffer is id or none"),
                }
            }
            "--unknown-pct" => o.unknown_pct = num(&k, &v),
            "--rate" => o.rate = num(&k, &v),
            "--interval-ms" => o.interval_ms = num(&k, &v),
            "--timeout-ms" => o.timeout_ms = num(&k, &v),
            "--frame-len" => o.frame_len = num(&k, &v),
            "--vlan" => o.vlan = num(&k, &v),
            "--ports" => o.ports = num(&k, &v),
            "--tables" => o.tables = num(&k, &v),
            "--dpid" => o.dpid = num(&k, &v),
            "--table-id" => o.table_id = num(&k, &v),
            "--reason" => o.reason = num(&k, &v),
            "--cookie" => o.cookie = if v == "auto" { None } else { Some(num(&k, &v)) },
            "--settle-ms" => o.settle_ms = num(&k, &v),
            "--ready-timeout" => o.ready_timeout = num(&k, &v),
            "--connect-gap-ms" => o.connect_gap_ms = num(&k, &v),
            "--spin" => {
                o.spin = match v.as_str() {
                    "on" => Spin::On,
                    "off" => Spin::Off,
                    "auto" => Spin::Auto,
                    _ => die("--spin is on, off or auto"),
                }
            }
            "--label" => o.label = v,
            "--linger" => o.linger = num(&k, &v),
            "--flood-at" => o.flood_at = num(&k, &v),
            "--flood-seconds" => o.flood_seconds = num(&k, &v),
            "--watch" => o.watch = v.split(',').map(|pid| num(&k, pid)).collect(),
            _ => die(&format!("unknown option {k}; try --help")),
        }
    }
    if o.switches == 0 || o.switches > 0xffff {
        die("--switches is 1 to 65535");
    }
    if o.flood_seconds > 0.0 && (o.rate == 0.0 || o.switches < 2) {
        die("--flood-seconds goes with --rate, and with two switches or more");
    }
    if o.once {
        o.warmup = 0.0;
    }
    if o.latency && o.rate > 0.0 {
        die("--rate goes with --mode throughput");
    }
    if o.latency {
        o.window = 1;
    } else if o.rate > 0.0 {
        o.window = if o.window == 0 || o.window == WINDOW_FULL {
            100_000
        } else {
            o.window
        };
    } else if o.window == WINDOW_FULL {
        o.macs = if o.macs == 0 { 1 << 17 } else { o.macs };
        o.window = o.macs / 2;
    } else if o.window == 0 {
        let w = (WINDOW_ALL / o.switches as u32).clamp(128, WINDOW);
        o.window = if o.macs == 0 { w } else { w.min(o.macs / 2) };
    }
    if o.macs == 0 {
        o.macs = if o.rate > 0.0 {
            1000
        } else {
            o.window.saturating_mul(2).max(1000)
        };
    }
    if o.macs < 2 || o.macs > 1 << 20 {
        die("--macs is 2 to 1048576");
    }
    if o.macs < 2 * o.window && o.rate == 0.0 {
        die(
            "--macs must be at least twice --window, so that an address is not reused while an answer is due",
        );
    }
    if o.vlan > 4094 {
        die("--vlan is 0 (untagged) to 4094");
    }
    if o.vlan != 0 {
        o.frame_len += 4;
    }
    if o.frame_len < wire::MIN_FRAME || o.frame_len > 9000 {
        die(&format!("--frame-len is {} to 9000", wire::MIN_FRAME));
    }
    if o.ports < 2
        || o.ports > 900
        || o.interval_ms == 0
        || o.seconds <= 0.0
        || o.warmup < 0.0
        || o.linger < 0.0
        || o.flood_at < 0.0
        || o.unknown_pct > 100
    {
        die(
            "--ports is 2 to 900, --interval-ms and --seconds are positive, --unknown-pct is 0 to 100",
        );
    }
    o
}
