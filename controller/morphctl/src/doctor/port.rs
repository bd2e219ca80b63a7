//! Addresses that switches connect to: whether the proxy answers there, or could listen there.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::finding::{Finding, Severity};

/// Ports that Morpheus listens on by default. The first is the official one, the second is for old switches.
pub(super) const DEFAULT_PORTS: [u16; 2] = [6653, 6633];

/// Deadline of the connect, and of the proxy's hello.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// Chooses the addresses to check: the named ones, else those that morphd listens on, else the defaults. Each comes with the
/// severity that a problem there has.
pub(super) fn addresses(
    named: &[SocketAddr],
    listens: &[SocketAddr],
) -> Vec<(SocketAddr, Severity)> {
    let defaults = DEFAULT_PORTS.map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
    let candidates = [named, listens, &defaults];
    let chosen = candidates.into_iter().find(|choice| !choice.is_empty());
    let mut addresses: Vec<(SocketAddr, Severity)> = Vec::new();
    for address in chosen.unwrap_or_default().iter().copied() {
        // "All addresses" is checked in one family only.
        let is_twin = |(other, _): &(SocketAddr, Severity)| {
            other.port() == address.port()
                && other.ip().is_unspecified()
                && address.ip().is_unspecified()
        };
        if addresses.iter().any(is_twin) {
            continue;
        }
        let severity = match address.port() == DEFAULT_PORTS[1] && !addresses.is_empty() {
            true => Severity::Warning,
            false => Severity::Trouble,
        };
        addresses.push((address, severity));
    }
    addresses
}

/// Checks each address; returns the proxy's process if it holds one of them.
pub(super) async fn check(
    addresses: &[(SocketAddr, Severity)],
    morphd_runs: bool,
    findings: &mut Vec<Finding>,
) -> Option<u32> {
    let mut proxy = None;
    for (address, severity) in addresses {
        let listener = listener_on(address.port());
        let finding = match morphd_runs {
            true => check_hello(*address, *severity, listener.as_ref()).await,
            false => check_free(*address, *severity, listener.as_ref()),
        };
        findings.push(finding);
        let is_proxy = |process: &Process| process.name == "morph-proxy";
        proxy = proxy.or(listener.filter(is_proxy).map(|process| process.pid));
    }
    proxy
}

/// Connects as a switch does, and reads the proxy's hello.
async fn check_hello(
    address: SocketAddr,
    severity: Severity,
    listener: Option<&Process>,
) -> Finding {
    let check = format!("port {}", address.port());
    let to = SocketAddr::new(reachable(address.ip()), address.port());
    let held_by = listener.map_or_else(String::new, |process| format!("; {process} holds it"));
    let fix = match listener {
        Some(process) if process.name != "morph-proxy" => {
            format!("stop {process}; morphd then restarts its proxy")
        }
        _ => "see `morphctl logs app=morph-proxy`".to_owned(),
    };
    let problem = |text: String| {
        let text = format!("{text}{held_by}");
        Finding::problem(check.clone(), severity, text, fix.clone())
    };
    let mut stream = match tokio::time::timeout(ANSWER_DEADLINE, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return problem(format!("cannot connect to {to}: {error}")),
        Err(_) => return problem(format!("cannot connect to {to} within 2 s")),
    };
    let mut hello = [0; 8];
    match tokio::time::timeout(ANSWER_DEADLINE, stream.read_exact(&mut hello)).await {
        // A hello of any version: its type is 0.
        Ok(Ok(_)) if hello[1] == 0 && (1..=6).contains(&hello[0]) => match listener {
            Some(process) if process.name != "morph-proxy" => {
                problem(format!("another controller answers on {to}"))
            }
            _ => Finding::ok(check, format!("{to} answers with a hello")),
        },
        Ok(Ok(_)) => problem(format!(
            "the program that answers on {to} does not speak OpenFlow"
        )),
        Ok(Err(error)) => problem(format!(
            "{to} closes the connection before a hello: {error}"
        )),
        Err(_) => problem(format!("{to} sends no hello within 2 s")),
    }
}

/// Replaces "all addresses" by one that a client can connect to.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Tries to listen on the address.
fn check_free(address: SocketAddr, severity: Severity, listener: Option<&Process>) -> Finding {
    let check = format!("port {}", address.port());
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => {
            let fix = match (error.kind(), listener) {
                (ErrorKind::AddrInUse, Some(process)) => format!(
                    "stop {process} (Debian's openvswitch-testcontroller is a service), or choose another address with `morphd --openflow`"
                ),
                (ErrorKind::AddrInUse, None) => {
                    "stop the process that holds it (as root, doctor names it), or choose another address with `morphd --openflow`".to_owned()
                }
                (ErrorKind::PermissionDenied, _) => {
                    "run as root, which ports below 1024 require, or choose another port with `morphd --openflow`".to_owned()
                }
                _ => "choose an address of this machine with `morphd --openflow`".to_owned(),
            };
            let text = match listener {
                Some(process) => {
                    format!("cannot listen on {address}: {error}: {process} holds it")
                }
                None => format!("cannot listen on {address}: {error}"),
            };
            Finding::problem(check, severity, text, fix)
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    name: String,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Process that listens on a port, as far as /proc shows it.
fn listener_on(port: u16) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
    let tables: Vec<String> = tables.into_iter().flatten().collect();
    let inodes = tables.iter().flat_map(|table| table.lines());
    let sockets: Vec<String> = inodes
        .filter_map(|line| inode_of_listener(line, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.map(|process| process.path()).find_map(|process| {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let mut open = std::fs::read_dir(process.join("fd")).ok()?.flatten();
        let holds = open.any(|fd| {
            let target = std::fs::read_link(fd.path()).unwrap_or_default();
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        });
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        holds.then(|| Process {
            pid,
            name: name.trim_end().to_owned(),
        })
    })
}

/// Parses a line of /proc/net/tcp (see proc(5)): local address, remote address, state (0A listens), ..., inode.
fn inode_of_listener(line: &str, port: u16) -> Option<&str> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = columns.get(1)?.rsplit_once(':')?;
    let listens = columns.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
    columns.get(9).filter(|_| listens).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_reported_with_its_process() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let process = listener_on(address.port()).unwrap();
        assert_eq!(process.pid, std::process::id());
        let finding = check_free(address, Severity::Trouble, Some(&process));
        assert_eq!(finding.severity, Severity::Trouble);
        let pid = format!("(pid {}) holds it", std::process::id());
        assert!(
            finding.text.contains(&pid) && finding.fix.contains("--openflow"),
            "{finding:?}"
        );
        drop(held);
        let finding = check_free(address, Severity::Trouble, None);
        assert_eq!(finding.severity, Severity::Ok);
    }

    #[tokio::test]
    async fn another_program_is_recognized_by_its_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for bytes in [&b"HTTP/1.1 400"[..], &[4, 0, 0, 8, 0, 0, 0, 1], &[]] {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut stream, bytes)
                    .await
                    .unwrap();
            }
        });
        let mut findings = Vec::new();
        for _ in 0..3 {
            findings.push(check_hello(address, Severity::Trouble, None).await);
        }
        server.await.unwrap();
        assert!(
            findings[0].text.contains("does not speak OpenFlow"),
            "{findings:?}"
        );
        assert_eq!(findings[1].severity, Severity::Ok);
        assert!(findings[2].text.contains("before a hello"), "{findings:?}");
        let closed = check_hello(address, Severity::Warning, None).await;
        assert_eq!(closed.severity, Severity::Warning);
        assert!(closed.text.contains("cannot connect"), "{closed:?}");
    }
}
