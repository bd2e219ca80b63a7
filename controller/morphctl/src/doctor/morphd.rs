//! morphd: whether it is there, what it says, and whom its proxy has refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use morph_api::management::{
    App, AppsRequest, LogsRequest, Part, Switch, SwitchesRequest, VersionReply, VersionRequest,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::{Finding, State};
use crate::call::Client;
use crate::failure::{Effect, Failure};
use crate::print::utc;

/// For each answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Of the proxy's log.
const LINES: u32 = 1000;
/// What was refused longer ago may have been mended.
const RECENT_MS: u64 = 10 * 60 * 1000;

/// What morphd says; empty where it is not there.
#[derive(Debug, Default)]
pub(super) struct Seen {
    version: Option<VersionReply>,
    pub(super) listens: Vec<SocketAddr>,
    pub(super) apps: Vec<App>,
    pub(super) switches: Vec<Switch>,
}

impl Seen {
    pub(super) fn is_there(&self) -> bool {
        self.version.is_some()
    }

    /// Its run directory and its state directory.
    pub(super) fn folders(&self) -> Option<[PathBuf; 2]> {
        let version = self.version.as_ref()?;
        Some([
            version.run_dir.clone().into(),
            version.state_dir.clone().into(),
        ])
    }
}

pub(super) async fn look(reached: Result<Channel, Failure>, found: &mut Vec<Finding>) -> Seen {
    let mut seen = Seen::default();
    let mut client = match reached {
        Ok(channel) => Client::new(channel),
        Err(failure) => {
            found.push(absent(failure.to_string()));
            return seen;
        }
    };
    match within(client.version(VersionRequest {})).await {
        Ok(version) => {
            let VersionReply {
                version: number,
                pid,
                run_dir,
                ..
            } = &version;
            found.push(Finding::ok(
                "morphd",
                format!("{number} runs on {run_dir} (pid {pid})"),
            ));
            seen.listens = version
                .openflow
                .iter()
                .filter_map(|a| a.parse().ok())
                .collect();
            found.extend(version.parts.iter().filter_map(judge_part));
            seen.version = Some(version);
        }
        Err(why) => {
            found.push(absent(why));
            return seen;
        }
    }
    match within(client.apps(AppsRequest {})).await {
        Ok(reply) => seen.apps = reply.apps,
        Err(why) => found.push(silent("apps", why)),
    }
    found.extend(judge_apps(&seen.apps));
    match within(client.switches(SwitchesRequest {})).await {
        Ok(reply) => {
            seen.switches = reply.switches;
            found.push(judge_switches(&seen.switches));
        }
        Err(why) => found.push(silent("morph-proxy", why)),
    }
    let lines = proxy_log(&mut client).await;
    found.extend(refusals(&lines, unix_ms(), &seen.switches));
    seen
}

fn absent(why: String) -> Finding {
    // What mends it is said in its own place here.
    let why = why.split(" (mend: ").next().unwrap_or_default();
    let mend = "start morphd; the checks below say what would stop it, or its switches";
    Finding::bad("morphd", State::Trouble, why, mend)
}

fn silent(check: &str, why: String) -> Finding {
    let mend = "see `morphctl logs app=morph-proxy`; SIGKILL to a process that hangs makes morphd start it again";
    Finding::bad(check, State::Trouble, why, mend)
}

async fn within<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads).to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

/// A process that every switch needs.
fn judge_part(part: &Part) -> Option<Finding> {
    let Part { name, pid, .. } = part;
    let (said, mend) = match part.state.as_str() {
        "hung" => (
            format!("{name} (pid {pid}) does not answer"),
            format!("`kill -9 {pid}`: morphd starts another, and switches connect anew"),
        ),
        "gone" => (
            format!("{name} has ended, and is started again"),
            format!("see `morphctl logs app={name}`"),
        ),
        _ => return None,
    };
    Some(Finding::bad(name.clone(), State::Trouble, said, mend))
}

fn judge_apps(apps: &[App]) -> Vec<Finding> {
    if apps.is_empty() {
        let mend = "`morphctl app start NAME`; `morphctl releases` lists what is installed";
        let found = "no app is present: switches attach, and nothing is forwarded";
        return vec![Finding::bad("apps", State::Warning, found, mend)];
    }
    let idle = apps.iter().filter(|app| app.pid == 0);
    let mut found: Vec<Finding> = idle
        .map(|app| {
            let mend = match app.status.as_str() {
                "stopped" => format!("`morphctl app start {}`", app.name),
                _ => format!("`morphctl logs app={}`", app.name),
            };
            Finding::bad(
                "apps",
                State::Warning,
                format!("{} is {}", app.name, app.status),
                mend,
            )
        })
        .collect();
    if found.is_empty() {
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        found.push(Finding::ok("apps", format!("{} run", names.join(", "))));
    }
    found
}

fn judge_switches(switches: &[Switch]) -> Finding {
    let slaves: Vec<&str> = switches
        .iter()
        .filter(|switch| switch.role == "slave")
        .map(|switch| switch.dpid.as_str())
        .collect();
    match slaves.as_slice() {
        [] => Finding::ok("switches", format!("{} connected", switches.len())),
        slaves => Finding::bad(
            "switches",
            State::Warning,
            format!(
                "Morpheus is a slave of {}: nothing is written there",
                slaves.join(", ")
            ),
            "end the other controller's mastership, or start morphd with --role master",
        ),
    }
}

async fn proxy_log(client: &mut Client) -> Vec<String> {
    let request = LogsRequest {
        app: "morph-proxy".into(),
        tail: LINES,
        follow: false,
    };
    let mut lines = Vec::new();
    if let Ok(mut stream) = within(client.logs(request)).await {
        while let Ok(Ok(Some(line))) = tokio::time::timeout(ANSWER, stream.message()).await {
            lines.push(line.line);
        }
    }
    lines
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// What to do about a switch that the proxy has refused, by words of its reason.
const MENDS: [(&str, &str); 6] = [
    (
        "speaks OpenFlow 1.0",
        "set protocols=OpenFlow13 on the bridge, or run one app alone",
    ),
    ("speaks OpenFlow", "set protocols=OpenFlow13 on the bridge"),
    (
        "tables, and the apps",
        "take an app out (`morphctl app remove`), or use a switch with more tables",
    ),
    (
        "datapath id",
        "give one of the switches another datapath id",
    ),
    (
        "auxiliary channel",
        "switch auxiliary connections off in the switch",
    ),
    (
        "within 10 s",
        "see whether the switch, or the network to it, is overloaded",
    ),
];

/// Switches that were refused of late and are not connected now: the last reason of each.
fn refusals(lines: &[String], now_ms: u64, connected: &[Switch]) -> Vec<Finding> {
    let since = utc(now_ms.saturating_sub(RECENT_MS));
    let mut last: BTreeMap<String, Finding> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.as_str() > since.as_str()) {
        let Some((_, said)) = line.split_once("closed: ") else {
            continue;
        };
        let (reason, fields) = said.split_once(" remote=").unwrap_or((said, ""));
        let (remote, dpid) = fields.split_once(" dpid=").unwrap_or((fields, ""));
        let host = remote.rsplit_once(':').map_or(remote, |(host, _)| host);
        let dpid = dpid.trim();
        let back = !dpid.is_empty() && connected.iter().any(|switch| switch.dpid == dpid);
        // While two switches claim one id, one of them is always connected.
        let clash = reason.starts_with("datapath id");
        let Some((_, mend)) = MENDS.iter().find(|(words, _)| reason.contains(words)) else {
            continue;
        };
        if !back || clash {
            let text = format!("a switch at {host} was refused: {reason}");
            let key = format!("{host} {dpid}");
            last.insert(key, Finding::bad("refused", State::Trouble, text, *mend));
        }
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_switch_is_found_in_the_log_until_it_is_back() {
        let now = 1_700_000_000_000;
        let line = |ago_ms, rest: &str| format!("{}  WARN {rest}", utc(now - ago_ms));
        let few = "closed: has 2 tables, and the apps' pipeline needs 8 remote=10.0.0.7:4242 dpid=0000000000000007";
        let old = "closed: speaks OpenFlow 1.1 only, and Morpheus 1.3 and 1.0: set protocols=OpenFlow13 remote=10.0.0.8:1 dpid=";
        let lines = [line(9_000_000, old), line(2_000, few), line(1_000, few)];
        let found = refusals(&lines, now, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]
                .found
                .contains("at 10.0.0.7 was refused: has 2 tables")
        );
        assert!(found[0].mend.contains("app remove"));
        let back = Switch {
            dpid: "0000000000000007".into(),
            ..Switch::default()
        };
        assert!(refusals(&lines, now, &[back]).is_empty());
        assert_eq!(refusals(&[line(1, old)], now, &[]).len(), 1);
        let noise = line(
            1,
            "closed: closed by the switch remote=10.0.0.7:4242 dpid=1",
        );
        assert!(refusals(&[noise, "torn".into()], now, &[]).is_empty());
    }

    #[test]
    fn a_part_that_hangs_is_trouble() {
        let part = |state: &str| Part {
            name: "morph-proxy".into(),
            pid: 7,
            state: state.into(),
            restarts: 0,
        };
        assert_eq!(judge_part(&part("running")), None);
        assert!(judge_part(&part("hung")).is_some_and(|f| f.mend.contains("kill -9 7")));
        assert!(judge_part(&part("gone")).is_some_and(|f| f.state == State::Trouble));
    }

    #[test]
    fn an_app_that_does_not_run_is_a_warning_with_its_mend() {
        let app = |status: &str, pid| App {
            name: "router".into(),
            status: status.into(),
            pid,
            ..App::default()
        };
        assert_eq!(judge_apps(&[app("running", 7)])[0].state, State::Ok);
        assert!(
            judge_apps(&[app("stopped", 0)])[0]
                .mend
                .contains("app start router")
        );
        assert!(
            judge_apps(&[app("crashed", 0)])[0]
                .mend
                .contains("logs app=router")
        );
        assert_eq!(judge_apps(&[])[0].state, State::Warning);
    }
}
