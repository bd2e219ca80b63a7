//! Listening sockets for switches.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use morph_api::Repeats;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::message::LoopMessage;

/// Port that IANA assigned to OpenFlow.
const PORT: u16 = 6653;
/// Former port, which old switches and Mininet still try.
const OLD_PORT: u16 = 6633;
/// Number of connections that may wait to be accepted.
const WAITING: i32 = 1024;
/// Delay after a failed accept, for example without free descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Failure to listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for switches on {address}: {source}{advice}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
    advice: String,
}

/// Listens on these addresses. Default: 6653 on all addresses, and 6633 where it is free.
pub(super) fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    if !addresses.is_empty() {
        return addresses.iter().map(|address| bind(*address)).collect();
    }
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut listeners = vec![bind(SocketAddr::new(v4, PORT))?];
    match bind(SocketAddr::new(v6, PORT)) {
        Ok(listener) => listeners.push(listener),
        Err(error) if in_use(&error.source) => return Err(error),
        // Expected on a machine without IPv6.
        Err(error) => tracing::info!("{error}"),
    }
    for ip in [v4, v6] {
        match bind(SocketAddr::new(ip, OLD_PORT)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if in_use(&error.source) => tracing::warn!("{error}"),
            Err(error) => tracing::info!("{error}"),
        }
    }
    Ok(listeners)
}

fn in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    open(address).map_err(|source| {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => taken(address.port()),
            io::ErrorKind::PermissionDenied => {
                ": ports below 1024 need root; choose another with --openflow".into()
            }
            _ => String::new(),
        };
        ListenError {
            address,
            source,
            advice,
        }
    })
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Lets 0.0.0.0 and [::] share a port.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, WAITING)?;
    TcpListener::from_std(socket.into())
}

/// Explains that a port is in use: by which process, and what can be done.
fn taken(port: u16) -> String {
    let mut advice = String::new();
    if let Some(holder) = holder(port) {
        // Writing to a String cannot fail.
        let _ = write!(advice, ": {holder} holds it");
    }
    let _ = write!(
        advice,
        "; stop it (`ss -ltnp 'sport = :{port}'` names it; Debian's openvswitch-testcontroller is a service), \
         or choose other addresses with --openflow"
    );
    advice
}

/// Finds the process that listens on a port, as far as /proc shows it.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| {
            table
                .lines()
                .find_map(|line| listening_inode(line, port).map(str::to_owned))
        })?;
    let socket = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let holds = |process: &std::path::Path| {
        let descriptors = std::fs::read_dir(process.join("fd")).ok()?;
        let mut targets = descriptors
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        targets
            .any(|target| target.as_os_str() == socket.as_str())
            .then_some(())
    };
    processes.map(|process| process.path()).find_map(|process| {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        holds(&process)?;
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("{} (pid {pid})", name.trim_end()))
    })
}

/// Returns the inode of a socket that listens on the port, from a line of /proc/net/tcp.
fn listening_inode(line: &str, port: u16) -> Option<&str> {
    /// Socket state `TCP_LISTEN`.
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let local = fields.get(1)?.rsplit(':').next()?;
    let listens = u16::from_str_radix(local, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
    fields.get(9).filter(|_| listens).copied()
}

/// Accepts connections until the loop ends.
pub(super) async fn accept(listener: TcpListener, inbox: mpsc::Sender<LoopMessage>) {
    let mut repeats = Repeats::default();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                if inbox
                    .send(LoopMessage::Connection { stream, remote })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Err(error) => {
                let (now, kind) = (
                    Instant::now(),
                    format!("cannot accept a connection: {error}"),
                );
                if repeats.note(&kind, now) {
                    tracing::error!("{kind}");
                }
                for line in repeats.due(now) {
                    tracing::error!("{line}");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_reported_with_its_holder() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err().to_string();
        let pid = format!("(pid {}) holds it", std::process::id());
        assert!(
            error.contains(&pid) && error.contains("--openflow"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn both_families_share_a_port() {
        let v4 = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        assert!(bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)).is_ok());
    }
}
