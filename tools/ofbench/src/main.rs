//! ofbench: an OpenFlow controller load generator. See USAGE in options.rs and README.md.

#![allow(
    unsafe_code,
    reason = "epoll, resource limits and the CPU clock are plain system calls; each block says why it is sound"
)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command: it prints its result and ends itself"
)]

mod address;
mod bench;
mod connection;
mod control;
mod hist;
mod load;
mod options;
mod output;
mod outstanding;
mod receiving;
mod report;
mod sending;
mod switch;
mod timeline;
mod watch;
mod wire;

use crate::bench::Bench;
use crate::options::parse_args;
use crate::output::{die, json_str};
use crate::switch::State;
use std::net::ToSocketAddrs;

/// Events taken by one wait.
const EVENTS: usize = 256;

fn main() {
    let o = parse_args();
    let addr = (o.host.as_str(), o.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut a| a.next());
    let Some(addr) = addr else {
        die(&format!("cannot resolve {}:{}", o.host, o.port))
    };
    let mut b = Bench::new(&o, addr, epoll());
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
    if let Err(why) = load::connect(&mut b, &mut events) {
        die(&why);
    }
    if b.ready() < o.switches {
        not_ready(&b);
    }
    let outcome = load::run(&mut b, &mut events);
    report::report(&b, &outcome);
    if b.disconnects > 0 && !o.reconnect {
        eprintln!("ofbench: {}", b.first_error);
        std::process::exit(1);
    }
}

/// Makes an epoll instance, and allows as many sockets as may be.
fn epoll() -> i32 {
    // SAFETY: plain system calls on a local struct; a failed setrlimit only limits the number of switches.
    let epoll = unsafe {
        let mut r = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut r) == 0 {
            r.rlim_cur = r.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &r);
        }
        libc::epoll_create1(libc::EPOLL_CLOEXEC)
    };
    if epoll < 0 {
        die("epoll_create1 failed");
    }
    epoll
}

fn not_ready(b: &Bench) -> ! {
    let (ready, all) = (b.ready(), b.sw.len());
    let waits = |is: fn(&State) -> bool| b.sw.iter().filter(|w| is(&w.state)).count();
    eprintln!(
        "ofbench: only {ready} of {all} switches became ready ({} without a connection, {} without FEATURES_REQUEST, {} not yet left \
         alone by the controller, {} without an answer to a packet-in): {}",
        waits(|s| matches!(s, State::Down(_))),
        waits(|s| matches!(s, State::Hello)),
        waits(|s| matches!(s, State::Settling)),
        waits(|s| matches!(s, State::Probing(_))),
        b.first_error
    );
    println!(
        "{{\"tool\":\"ofbench\",\"label\":{},\"error\":\"not ready\",\"ready\":{ready},\"switches\":{all},\"why\":{},\"bad_version\":{}}}",
        json_str(&b.o.label),
        json_str(&b.first_error),
        b.c.bad_version
    );
    std::process::exit(2)
}
