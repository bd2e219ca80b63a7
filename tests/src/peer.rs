//! A switch made by hand, for what real ones never do.

use crate::sandbox::Sandbox;
use anyhow::{Context, Result, bail};
use morph_openflow::v13::{FeaturesReply, Hello, Message, VERSION};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Numbers of the messages that a peer looks for.
mod kind {
    pub(super) const ECHO_REQUEST: u8 = 2;
    pub(super) const FEATURES_REQUEST: u8 = 5;
}

/// A connection to the OpenFlow port, on which anything can be said.
pub struct Peer(TcpStream);

impl Peer {
    /// Connects to Morpheus.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(sandbox: &Sandbox) -> Result<Self> {
        let stream = sandbox
            .inside(|| TcpStream::connect("127.0.0.1:6653").context("nobody listens on 6653"))?;
        Ok(Self(stream))
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When the other side has closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// Says hello and which datapath it is.
    ///
    /// # Errors
    /// When it is not asked.
    pub fn introduce(&mut self, dpid: u64, within: Duration) -> Result<()> {
        let hello = Message::Hello(Hello {
            versions: Some(1 << VERSION),
        });
        self.send(&hello.encode(1))?;
        let deadline = Instant::now() + within;
        loop {
            let Some(frame) = self.frame(deadline)? else {
                bail!("not asked for its features")
            };
            let xid = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
            if frame[1] == kind::FEATURES_REQUEST {
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

    /// Waits until the other side closes; echo requests are answered meanwhile.
    ///
    /// # Errors
    /// When it does not close in time.
    pub fn wait_closed(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let Some(mut frame) = self.frame(deadline)? else {
                return Ok(());
            };
            if frame[1] == kind::ECHO_REQUEST {
                frame[1] += 1;
                if self.send(&frame).is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// The next whole message; `None` when the other side has closed.
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
                bail!("the other side neither speaks nor closes");
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
