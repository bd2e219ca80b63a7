//! `morphctl doctor`: finds everything that would keep a switch from attaching here, and says how to fix it. Every check is
//! made for real as far as possible from here, and all of them run without morphd too.
//!
//! | file | checks |
//! |---|---|
//! | `morphd.rs` | morphd, its apps and switches, and the switches that the proxy refused |
//! | `port.rs` | the addresses that switches connect to |
//! | `machine.rs` | directories, disk, file descriptors, clock |
//! | `ovs.rs`, `ovsdb.rs` | the bridges of Open vSwitch on this machine |

mod finding;
mod machine;
mod morphd;
mod ovs;
mod ovsdb;
mod port;

use tonic::transport::Channel;

use crate::command::DoctorOptions;
use crate::failure::Failure;
use crate::print::Output;
use finding::Severity;

/// Makes all checks and prints their findings. Fails if a switch would not attach.
pub(crate) async fn run(
    options: &DoctorOptions,
    channel: Result<Channel, Failure>,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let snapshot = morphd::check(channel, &mut findings).await;
    let addresses = port::addresses(&options.openflow, &snapshot.listens);
    let proxy = port::check(&addresses, snapshot.morphd_runs(), &mut findings).await;
    machine::check(&snapshot, proxy, &mut findings);
    let ports: Vec<u16> = addresses
        .iter()
        .map(|(address, _)| address.port())
        .collect();
    let db = options.ovs_db.as_deref();
    ovs::check(db, &ports, &snapshot, &mut findings).await;
    out.list("checks", &findings)?;
    let troubles = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Trouble)
        .count();
    match troubles {
        0 => Ok(()),
        1 => Err(Failure::Refused(
            "1 problem keeps switches from attaching; see the check with state trouble".into(),
        )),
        count => Err(Failure::Refused(format!(
            "{count} problems keep switches from attaching; see the checks with state trouble"
        ))),
    }
}
