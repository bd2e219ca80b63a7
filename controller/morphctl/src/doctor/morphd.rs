//! morphd: whether it runs, the state of its parts, apps and switches, and the switches that its proxy refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use morph_api::management::{
    Alarm, AlarmsRequest, App, AppsRequest, LogsRequest, Part, Switch, SwitchesRequest,
    VersionReply, VersionRequest,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::finding::{Finding, Severity};
use crate::client::Client;
use crate::failure::{Effect, Failure, without_fix};
use crate::print::{place, utc};

/// Deadline of each answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Number of lines of the proxy's log that are searched for refused switches.
const LOG_LINES: u32 = 1000;
/// Age in milliseconds up to which a refused switch is reported; older ones may have been fixed.
const RECENT_MS: u64 = 10 * 60 * 1000;

/// State of Morpheus as morphd reports it; empty if morphd does not answer.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    version: Option<VersionReply>,
    pub(super) listens: Vec<SocketAddr>,
    pub(super) apps: Vec<App>,
    pub(super) switches: Vec<Switch>,
}

impl Snapshot {
    pub(super) fn morphd_runs(&self) -> bool {
        self.version.is_some()
    }

    /// Run directory and state directory of morphd.
    pub(super) fn folders(&self) -> Option<[PathBuf; 2]> {
        let version = self.version.as_ref()?;
        Some([
            version.run_dir.clone().into(),
            version.state_dir.clone().into(),
        ])
    }
}

pub(super) async fn check(
    channel: Result<Channel, Failure>,
    findings: &mut Vec<Finding>,
) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut client = match channel {
        Ok(channel) => Client::new(channel),
        Err(failure) => {
            findings.push(unreachable(&failure.to_string()));
            return snapshot;
        }
    };
    match answer(client.version(VersionRequest {})).await {
        Ok(version) => {
            let VersionReply {
                version: number,
                pid,
                run_dir,
                ..
            } = &version;
            findings.push(Finding::ok(
                "morphd",
                format!("{number} runs on {run_dir} (pid {pid})"),
            ));
            snapshot.listens = version
                .openflow
                .iter()
                .filter_map(|a| a.parse().ok())
                .collect();
            findings.extend(version.parts.iter().filter_map(check_part));
            snapshot.version = Some(version);
        }
        Err(reason) => {
            findings.push(unreachable(&reason));
            return snapshot;
        }
    }
    match answer(client.apps(AppsRequest {})).await {
        Ok(reply) => snapshot.apps = reply.apps,
        Err(reason) => findings.push(no_answer("apps", reason)),
    }
    findings.extend(check_apps(&snapshot.apps));
    match answer(client.switches(SwitchesRequest {})).await {
        Ok(reply) => {
            snapshot.switches = reply.switches;
            let count = snapshot.switches.len();
            findings.push(Finding::ok("switches", format!("{count} connected")));
        }
        Err(reason) => findings.push(no_answer("morph-proxy", reason)),
    }
    match answer(client.alarms(AlarmsRequest::default())).await {
        Ok(reply) => findings.extend(reply.alarms.iter().map(of_alarm)),
        Err(reason) => {
            let text = format!("the alarms cannot be read: {reason}");
            let fix = "see `morphctl status`";
            findings.push(Finding::problem("alarms", Severity::Warning, text, fix));
        }
    }
    let lines = proxy_log(&mut client).await;
    findings.extend(refusals(&lines, unix_ms(), &snapshot.switches));
    snapshot
}

fn unreachable(reason: &str) -> Finding {
    // The finding has its own fix.
    let text = without_fix(reason);
    let fix = "start morphd; the checks below show what would stop it or its switches";
    Finding::problem("morphd", Severity::Trouble, text, fix)
}

fn no_answer(check: &str, reason: String) -> Finding {
    let fix = "see `morphctl logs app=morph-proxy`; if the process hangs, send it SIGKILL and morphd restarts it";
    Finding::problem(check, Severity::Trouble, reason, fix)
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_DEADLINE, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads).to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_DEADLINE.as_secs())),
    }
}

/// Checks a process that every switch needs.
fn check_part(part: &Part) -> Option<Finding> {
    let Part { name, pid, .. } = part;
    let (text, fix) = match part.state.as_str() {
        "hung" => (
            format!("{name} (pid {pid}) does not answer"),
            format!("`kill -9 {pid}`: morphd restarts it, and switches connect again"),
        ),
        "gone" => (
            format!("{name} has ended and is being restarted"),
            format!("see `morphctl logs app={name}`"),
        ),
        _ => return None,
    };
    Some(Finding::problem(name.clone(), Severity::Trouble, text, fix))
}

fn check_apps(apps: &[App]) -> Vec<Finding> {
    if apps.is_empty() {
        let fix = "`morphctl app start NAME`; `morphctl releases` lists the installed apps";
        let text = "no app is present: switches attach, but nothing is forwarded";
        return vec![Finding::problem("apps", Severity::Warning, text, fix)];
    }
    let idle = apps.iter().filter(|app| app.pid == 0);
    let mut findings: Vec<Finding> = idle
        .map(|app| {
            let fix = match app.status.as_str() {
                "stopped" => format!("`morphctl app start {}`", app.name),
                _ => format!("`morphctl logs app={}`", app.name),
            };
            let text = format!("{} is {}", app.name, app.status);
            Finding::problem("apps", Severity::Warning, text, fix)
        })
        .collect();
    if findings.is_empty() {
        let names: Vec<&str> = apps.iter().map(|app| app.name.as_str()).collect();
        findings.push(Finding::ok(
            "apps",
            format!("running: {}", names.join(", ")),
        ));
    }
    findings
}

/// An alarm keeps no switch from attaching.
fn of_alarm(alarm: &Alarm) -> Finding {
    let place = match place(alarm).as_str() {
        "" => String::new(),
        place => format!(" ({place})"),
    };
    let text = format!("{} {}{place}: {}", alarm.app, alarm.kind, alarm.text);
    Finding::problem("alarm", Severity::Warning, text, &*alarm.mend)
}

async fn proxy_log(client: &mut Client) -> Vec<String> {
    let request = LogsRequest {
        app: "morph-proxy".into(),
        tail: LOG_LINES,
        follow: false,
    };
    let mut lines = Vec::new();
    if let Ok(mut stream) = answer(client.logs(request)).await {
        while let Ok(Ok(Some(line))) = tokio::time::timeout(ANSWER_DEADLINE, stream.message()).await
        {
            lines.push(line.line);
        }
    }
    lines
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Fixes for refused switches, by words of the proxy's reason in its log; the first match counts. The words must be those of
/// `controller/proxy/src`: `channel/` and `mediator/switches.rs`. Switches with too few tables are alarms.
const REFUSAL_FIXES: [(&str, &str); 4] = [
    ("and Morpheus 1.3", "set protocols=OpenFlow13 on the bridge"),
    (
        "datapath id",
        "give one of the switches another datapath id",
    ),
    (
        "auxiliary channel",
        "disable auxiliary connections in the switch",
    ),
    (
        "within 10 s",
        "see whether the switch, or the network to it, is overloaded",
    ),
];

/// Finds recently refused switches that are not connected now, with the last reason for each.
fn refusals(lines: &[String], now_ms: u64, connected: &[Switch]) -> Vec<Finding> {
    let since = utc(now_ms.saturating_sub(RECENT_MS));
    let mut last: BTreeMap<String, Finding> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.as_str() > since.as_str()) {
        let Some((_, text)) = line.split_once("closed: ") else {
            continue;
        };
        let (reason, fields) = text.split_once(" remote=").unwrap_or((text, ""));
        let (remote, dpid) = fields.split_once(" dpid=").unwrap_or((fields, ""));
        let host = remote.rsplit_once(':').map_or(remote, |(host, _)| host);
        let dpid = dpid.trim();
        let is_back = !dpid.is_empty() && connected.iter().any(|switch| switch.dpid == dpid);
        // If two switches have the same id, one of them is always connected.
        let is_duplicate = reason.starts_with("datapath id");
        let mut fixes = REFUSAL_FIXES.iter();
        let Some((_, fix)) = fixes.find(|(words, _)| reason.contains(words)) else {
            continue;
        };
        if !is_back || is_duplicate {
            let text = format!("the switch at {host} was refused: {reason}");
            let key = format!("{host} {dpid}");
            let finding = Finding::problem("refused", Severity::Trouble, text, *fix);
            last.insert(key, finding);
        }
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_switch_is_reported_until_it_is_connected() {
        let now = 1_700_000_000_000;
        let line = |ago_ms, rest: &str| format!("{}  WARN {rest}", utc(now - ago_ms));
        let late = "closed: did not describe itself within 10 s remote=10.0.0.7:4242 dpid=0000000000000007";
        let old = "closed: speaks OpenFlow 1.1 only, and Morpheus 1.3 and 1.0: set protocols=OpenFlow13 remote=10.0.0.8:1 dpid=";
        let lines = [line(9_000_000, old), line(2_000, late), line(1_000, late)];
        let found = refusals(&lines, now, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("at 10.0.0.7 was refused: did not"));
        assert!(found[0].fix.contains("overloaded"));
        let back = Switch {
            dpid: "0000000000000007".into(),
            ..Switch::default()
        };
        assert!(refusals(&lines, now, &[back]).is_empty());
        assert_eq!(refusals(&[line(1, old)], now, &[]).len(), 1);
        // Further refusals are told as a count each minute.
        let count = "59 more in the last minute: closed: did not describe itself within 10 s remote=10.0.0.7:* dpid=0000000000000007";
        let found = refusals(&[line(9_000_000, late), line(1_000, count)], now, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("at 10.0.0.7 was refused: did not"));
        let noise = line(
            1,
            "closed: closed by the switch remote=10.0.0.7:4242 dpid=1",
        );
        assert!(refusals(&[noise, "torn".into()], now, &[]).is_empty());
    }

    #[test]
    fn an_alarm_is_a_warning_with_its_place_and_mend() {
        let alarm = Alarm {
            app: "topology".into(),
            kind: "flap".into(),
            dpid: "0000000000000001".into(),
            port: 7,
            text: "port 7 flaps".into(),
            mend: "see the cable".into(),
            ..Alarm::default()
        };
        let finding = of_alarm(&alarm);
        assert_eq!(
            (finding.severity, &*finding.text, &*finding.fix),
            (
                Severity::Warning,
                "topology flap (0000000000000001/7): port 7 flaps",
                "see the cable"
            )
        );
    }

    #[test]
    fn a_hung_part_is_trouble() {
        let part = |state: &str| Part {
            name: "morph-proxy".into(),
            pid: 7,
            state: state.into(),
            restarts: 0,
        };
        assert_eq!(check_part(&part("running")), None);
        assert!(check_part(&part("hung")).is_some_and(|f| f.fix.contains("kill -9 7")));
        assert!(check_part(&part("gone")).is_some_and(|f| f.severity == Severity::Trouble));
    }

    #[test]
    fn an_app_that_does_not_run_is_a_warning() {
        let app = |status: &str, pid| App {
            name: "router".into(),
            status: status.into(),
            pid,
            ..App::default()
        };
        assert_eq!(check_apps(&[app("running", 7)])[0].severity, Severity::Ok);
        assert!(
            check_apps(&[app("stopped", 0)])[0]
                .fix
                .contains("app start router")
        );
        assert!(
            check_apps(&[app("crashed", 0)])[0]
                .fix
                .contains("logs app=router")
        );
        assert_eq!(check_apps(&[])[0].severity, Severity::Warning);
    }
}
