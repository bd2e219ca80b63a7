//! The connections of the fake switches: each connects, answers, sends what is due, and reconnects when it is cut
//! off.

use super::{Switch, lock};
use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use morph_openflow::v13::packet_in::reason;
use morph_openflow::v13::{
    self, Hello, Match, Message, MultipartRequest, NO_BUFFER, PacketIn, VERSION,
};
use morph_openflow::{MessageType, frame};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

const CONTROLLER: &str = "127.0.0.1:6653";
/// Delay before a lost connection is tried again.
const RECONNECT: Duration = Duration::from_millis(100);
/// Interval at which a switch looks for due packets.
const TICK: Duration = Duration::from_millis(4);
/// Idle time after which a connection is probed. After twice that time it is closed, as in Open vSwitch.
const PROBE: Duration = Duration::from_secs(5);
/// Bound of unsent bytes beyond which a switch takes no more packets from its hosts.
const UNSENT: usize = 256 << 10;

/// Way in which a switch handles what it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Reads, carries out and answers everything at once.
    #[default]
    Prompt,
    /// Reads nothing, sends all the same, and keeps its connection.
    ReadsNothing,
    /// Carries out everything, and answers no barrier.
    HoldsBarriers,
}

/// Runs all switches until they are told to stop.
pub(super) fn run(switches: Vec<Arc<Mutex<Switch>>>, stopped: watch::Receiver<bool>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut connections = tokio::task::JoinSet::new();
        // Staggered, so that few switches never look for due packets at the same moment.
        let (start, count) = (Instant::now(), switches.len() as u32);
        for (at, switch) in (0..).zip(switches) {
            let phase = start + TICK * at / count;
            let mut stopped = stopped.clone();
            connections.spawn(async move {
                tokio::select! {
                    result = stay_connected(&switch, phase) => result,
                    _ = stopped.wait_for(|stop| *stop) => Ok(()),
                }
            });
        }
        while let Some(ended) = connections.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn stay_connected(switch: &Mutex<Switch>, phase: Instant) -> Result<()> {
    loop {
        if let Ok(stream) = TcpStream::connect(CONTROLLER).await {
            stream.set_nodelay(true)?;
            serve(switch, stream, phase).await?;
            let mut switch = lock(switch);
            switch.datapath.disconnected();
            switch.dumps.disconnected();
            // A connection that was refused at once does not count as one.
            if std::mem::replace(&mut switch.connected, false) {
                switch.disconnects += 1;
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Serves one connection until it is lost. An error is a message from Morpheus that cannot be decoded.
async fn serve(switch: &Mutex<Switch>, mut stream: TcpStream, phase: Instant) -> Result<()> {
    let (mut input, mut output) = stream.split();
    let (mut unread, mut unsent) = (BytesMut::new(), BytesMut::new());
    let versions = Some(1 << VERSION);
    Message::Hello(Hello { versions }).encode_into(0, &mut unsent);
    let mut ticks = tokio::time::interval_at(phase.into(), TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut received = Instant::now();
    let mut probed = false;
    loop {
        let reads = follow_pace(switch, &mut unsent);
        tokio::select! {
            read = input.read_buf(&mut unread), if reads => {
                if read.unwrap_or(0) == 0 {
                    return Ok(());
                }
                (received, probed) = (Instant::now(), false);
                receive(switch, &mut unread, &mut unsent)?;
            }
            written = output.write_buf(&mut unsent), if !unsent.is_empty() => {
                if written.is_err() {
                    return Ok(());
                }
            }
            _ = ticks.tick() => {
                if !reads {
                    // A switch that reads nothing does not know whether Morpheus is silent.
                    received = Instant::now();
                }
                let silent = received.elapsed();
                if silent > PROBE && !probed {
                    probed = true;
                    Message::EchoRequest(Bytes::new()).encode_into(0, &mut unsent);
                }
                if silent > 2 * PROBE {
                    return Ok(());
                }
                send_due(switch, &mut unsent);
            }
        }
    }
}

/// Brings the switch in line with its pace. Whether it reads.
fn follow_pace(switch: &Mutex<Switch>, unsent: &mut BytesMut) -> bool {
    let mut switch = lock(switch);
    match switch.pace {
        Pace::Prompt => switch.datapath.release_barriers(unsent),
        Pace::HoldsBarriers => switch.datapath.hold_barriers(),
        Pace::ReadsNothing => return false,
    }
    true
}

/// Answers all whole messages that have arrived.
fn receive(switch: &Mutex<Switch>, unread: &mut BytesMut, unsent: &mut BytesMut) -> Result<()> {
    let now = Instant::now();
    let mut switch = lock(switch);
    while let Some(frame) = frame::split(unread)? {
        let (header, message) =
            v13::decode(&frame).context("cannot decode a message from Morpheus")?;
        if let Message::PacketOut(out) = &message {
            switch
                .tallies
                .entry(out.in_port)
                .or_default()
                .answer(&out.data, now);
            // Nothing, unless the switch refuses it.
            switch.datapath.answer(&frame, header, message, unsent);
            continue;
        }
        // Morpheus knows the switch now, so a loss of the connection counts.
        switch.connected |= message.kind() == MessageType::FEATURES_REQUEST;
        let is_dump = matches!(
            message,
            Message::MultipartRequest(MultipartRequest::Flow(_))
        );
        if !is_dump || !switch.dumps.are_slow() {
            switch.datapath.answer(&frame, header, message, unsent);
            continue;
        }
        let mut answer = BytesMut::new();
        switch.datapath.answer(&frame, header, message, &mut answer);
        let switch = &mut *switch;
        switch.dumps.add(answer, now)?;
    }
    Ok(())
}

/// Writes the numbered packets that are due.
fn send_due(switch: &Mutex<Switch>, unsent: &mut BytesMut) {
    let now = Instant::now();
    let switch = &mut *lock(switch);
    switch.dumps.write_due(now, unsent);
    if !switch.connected || unsent.len() > UNSENT {
        return;
    }
    for (&port, tally) in &mut switch.tallies {
        let Some(punt) = switch.datapath.punt(port) else {
            continue;
        };
        for _ in 0..tally.due(now) {
            let data = Bytes::copy_from_slice(&tally.packet(now));
            let packet = PacketIn {
                buffer_id: NO_BUFFER,
                total_len: data.len() as u16,
                reason: reason::ACTION,
                table_id: punt.table,
                cookie: punt.cookie,
                match_: Match::new().in_port(port),
                data,
            };
            Message::PacketIn(packet).encode_into(0, unsent);
        }
    }
}
