//! A hand-written OpenFlow connection, for bytes that real switches never send.

use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use morph_openflow::v13::{FeaturesReply, Hello, Message, VERSION};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Message types that a peer reacts to.
mod message_type {
    pub(super) const ECHO_REQUEST: u8 = 2;
    pub(super) const FEATURES_REQUEST: u8 = 5;
}

/// Connection to the OpenFlow port that sends any bytes.
pub struct Peer(TcpStream);

impl Peer {
    pub fn connect(sandbox: &Sandbox) -> Result<Self> {
        let stream = sandbox.inside(|| {
            TcpStream::connect("127.0.0.1:6653").context("cannot connect to the OpenFlow port 6653")
        })?;
        Ok(Self(stream))
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Sends a hello and answers the features request with this datapath id.
    pub fn introduce(&mut self, dpid: u64, within: Duration) -> Result<()> {
        let hello = Message::Hello(Hello {
            versions: Some(1 << VERSION),
        });
        self.send(&hello.encode(1))?;
        let deadline = Instant::now() + within;
        loop {
            let Some(frame) = self.frame(deadline)? else {
                bail!("Morpheus closed the connection before its features request")
            };
            let xid = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            if frame[1] == message_type::FEATURES_REQUEST {
                let features = FeaturesReply {
                    datapath_id: dpid,
                    n_buffers: 0,
                    n_tables: 254,
                    auxiliary_id: 0,
                    capabilities: 0,
                    reserved: 0,
                };
                return self.send(&Message::FeaturesReply(features).encode(xid));
            }
        }
    }

    /// Waits until the other side closes. Echo requests are answered meanwhile.
    pub fn wait_closed(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let Some(mut frame) = self.frame(deadline)? else {
                return Ok(());
            };
            if frame[1] == message_type::ECHO_REQUEST {
                frame[1] += 1;
                if self.send(&frame).is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Next whole message; `None` when the other side has closed.
    fn frame(&mut self, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut frame = vec![0; 8];
        if !self.fill(&mut frame, 0, deadline)? {
            return Ok(None);
        }
        let length = usize::from(u16::from_be_bytes([frame[2], frame[3]])).max(8);
        frame.resize(length, 0);
        Ok(self.fill(&mut frame, 8, deadline)?.then_some(frame))
    }

    fn fill(&mut self, buffer: &mut [u8], mut from: usize, deadline: Instant) -> Result<bool> {
        while from < buffer.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("Morpheus neither sends nor closes");
            }
            self.0.set_read_timeout(Some(left))?;
            match self.0.read(&mut buffer[from..]) {
                Ok(0) => return Ok(false),
                Ok(count) => from += count,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }
}
