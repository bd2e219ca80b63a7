//! Where switches connect: whether the proxy answers there, or could listen there.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Finding, State};

/// For the connect, and for the proxy's hello.
const ANSWER: Duration = Duration::from_secs(2);

/// Looks at each address; the proxy's process, where one was found.
pub(super) async fn look(
    addresses: &[(SocketAddr, State)],
    runs: bool,
    found: &mut Vec<Finding>,
) -> Option<u32> {
    let mut proxy = None;
    for (address, state) in addresses {
        let holder = holder(address.port());
        let finding = match runs {
            true => answers(*address, *state, holder.as_ref()).await,
            false => is_free(*address, *state, holder.as_ref()),
        };
        found.push(finding);
        proxy = proxy.or(holder.filter(|h| h.name == "morph-proxy").map(|h| h.pid));
    }
    proxy
}

/// Connects as a switch does, and reads the proxy's hello.
async fn answers(address: SocketAddr, state: State, holder: Option<&Holder>) -> Finding {
    let check = format!("port {}", address.port());
    let to = SocketAddr::new(reachable(address.ip()), address.port());
    let whose = holder.map_or_else(String::new, |holder| format!("; {holder} holds it"));
    let mend = match holder {
        Some(holder) if holder.name != "morph-proxy" => {
            format!("stop {holder}, then morphd starts its proxy again")
        }
        _ => "see `morphctl logs app=morph-proxy`".to_owned(),
    };
    let bad =
        |why: String| Finding::bad(check.clone(), state, format!("{why}{whose}"), mend.clone());
    let mut stream = match tokio::time::timeout(ANSWER, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return bad(format!("cannot connect to {to}: {error}")),
        Err(_) => return bad(format!("cannot connect to {to} within 2 s")),
    };
    let mut hello = [0; 8];
    match tokio::time::timeout(ANSWER, stream.read_exact(&mut hello)).await {
        // Any version, and type 0.
        Ok(Ok(_)) if hello[1] == 0 && (1..=6).contains(&hello[0]) => match holder {
            Some(holder) if holder.name != "morph-proxy" => {
                bad(format!("another controller answers on {to}"))
            }
            _ => Finding::ok(check, format!("a hello comes from {to}")),
        },
        Ok(Ok(_)) => bad(format!("what answers on {to} does not speak OpenFlow")),
        Ok(Err(error)) => bad(format!("{to} closes at once: {error}")),
        Err(_) => bad(format!("no hello comes from {to} within 2 s")),
    }
}

/// An address of this machine that leads to a listener on this one.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Listens there for a moment.
fn is_free(address: SocketAddr, state: State, holder: Option<&Holder>) -> Finding {
    let check = format!("port {}", address.port());
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(check, format!("{address} is free")),
        Err(error) => {
            let mend = match (error.kind(), holder) {
                (ErrorKind::AddrInUse, Some(holder)) => format!(
                    "stop {holder} (Debian's openvswitch-testcontroller is a service), or choose another with `morphd --openflow`"
                ),
                (ErrorKind::AddrInUse, None) => {
                    "stop what holds it (as root this says what), or choose another with `morphd --openflow`".to_owned()
                }
                (ErrorKind::PermissionDenied, _) => {
                    "ports below 1024 need root; choose another with `morphd --openflow`".to_owned()
                }
                _ => "choose an address of this machine with `morphd --openflow`".to_owned(),
            };
            let found = match holder {
                Some(holder) => format!("{address}: {error}: {holder} holds it"),
                None => format!("{address}: {error}"),
            };
            Finding::bad(check, state, found, mend)
        }
    }
}

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Who listens on a port, as far as /proc shows it.
fn holder(port: u16) -> Option<Holder> {
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
        holds.then(|| Holder {
            pid,
            name: name.trim_end().to_owned(),
        })
    })
}

/// From a line of /proc/net/tcp (proc(5)): columns are local address, remote address, state (0A listens), ..., inode.
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
    fn a_port_that_is_held_is_told_with_its_holder() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        let holder = holder(address.port()).unwrap();
        assert_eq!(holder.pid, std::process::id());
        let finding = is_free(address, State::Trouble, Some(&holder));
        assert_eq!(finding.state, State::Trouble);
        let pid = format!("(pid {}) holds it", std::process::id());
        assert!(
            finding.found.contains(&pid) && finding.mend.contains("--openflow"),
            "{finding:?}"
        );
        drop(held);
        assert_eq!(is_free(address, State::Trouble, None).state, State::Ok);
    }

    #[tokio::test]
    async fn what_is_no_proxy_is_found_by_its_answer() {
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
        let mut said = Vec::new();
        for _ in 0..3 {
            said.push(answers(address, State::Trouble, None).await);
        }
        server.await.unwrap();
        assert!(
            said[0].found.contains("does not speak OpenFlow"),
            "{said:?}"
        );
        assert_eq!(said[1].state, State::Ok);
        assert!(said[2].found.contains("closes at once"), "{said:?}");
        let gone = answers(address, State::Warning, None).await;
        assert_eq!(gone.state, State::Warning);
        assert!(gone.found.contains("cannot connect"), "{gone:?}");
    }
}
