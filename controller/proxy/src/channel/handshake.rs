//! Handshake of a channel, from the hello to a described switch.

use super::*;

impl Channel {
    pub(super) fn hello(
        &mut self,
        header: Header,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        if header.kind != MessageType::HELLO {
            let reason = format!(
                "the first message is {}, but OpenFlow begins with HELLO",
                header.kind
            );
            return self.close(Level::WARN, reason, out);
        }
        match hello::negotiate(frame) {
            Ok(version) => {
                self.transport.negotiated(version);
                self.state = ChannelState::Features;
                self.request(&Message::FeaturesRequest, now);
            }
            Err(incompatible) => {
                let refusal = hello::refusal(&incompatible, header.xid);
                self.transport.append(&refusal);
                self.close(Level::WARN, incompatible.text, out);
            }
        }
    }

    pub(super) fn features(&mut self, header: Header, frame: &Bytes, out: &mut Vec<ChannelOutput>) {
        match v13::decode(frame) {
            Ok((_, Message::FeaturesReply(features))) if features.auxiliary_id != 0 => {
                let reason = format!(
                    "auxiliary channel {} of {:016x}: only main channels are accepted",
                    features.auxiliary_id, features.datapath_id
                );
                self.close(Level::WARN, reason, out);
            }
            Ok((_, Message::FeaturesReply(features))) => {
                self.transport.answered(header.xid);
                self.state = ChannelState::Admission;
                let dpid = features.datapath_id;
                self.description.set_features(features);
                out.push(ChannelOutput::Identified { dpid });
            }
            Ok((_, Message::Error(error))) => {
                let reason = format!("the switch refused the handshake: {error}");
                self.close(Level::WARN, reason, out);
            }
            Ok((_, Message::PortStatus(status))) => self.description.change_port(status),
            Ok((_, Message::PacketIn(_) | Message::FlowRemoved(_))) => {
                self.keep_early(header, frame.clone());
            }
            Ok(_) => {}
            Err(error) => self.malformed(header, &error, out),
        }
    }

    pub(super) fn malformed(
        &mut self,
        header: Header,
        error: &morph_openflow::DecodeError,
        out: &mut Vec<ChannelOutput>,
    ) {
        self.close(
            Level::WARN,
            format!("malformed {}: {error}", header.kind),
            out,
        );
    }

    pub(super) fn describe(&mut self, now: Instant) {
        if self.state != ChannelState::Admission {
            return;
        }
        // Packets are sent to the controller as a whole: nothing is ever left in a switch's buffers.
        let config = Message::SetConfig(SwitchConfig {
            flags: 0,
            miss_send_len: 0xffff,
        });
        let config = self
            .transport
            .send(&config, Requester::Channel, Expects::Nothing, now);
        self.roles.request(&mut self.transport, now);
        let ports = Message::MultipartRequest(MultipartRequest::PortDesc);
        let desc = Message::MultipartRequest(MultipartRequest::Desc);
        let (ports, desc) = (self.request(&ports, now), self.request(&desc, now));
        let barrier = self.request(&Message::BarrierRequest, now);
        for (xid, what) in [
            (config, Refusable::Config),
            (ports, Refusable::PortDesc),
            (desc, Refusable::Desc),
            (barrier, Refusable::Barrier),
        ] {
            self.refusals.asked(xid, what);
        }
        if self.may_write() {
            self.transport.ask_for_bundles(now);
        }
        self.state = ChannelState::Describing {
            ports: Some(ports),
            desc: Some(desc),
            barrier: Some(barrier),
        };
    }

    pub(super) fn described(
        &mut self,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<ChannelOutput>,
    ) {
        let mut answered = false;
        match v13::decode(&frame) {
            Ok((_, Message::MultipartReply(reply))) => answered = self.description.add(reply),
            Ok((_, Message::BarrierReply)) => {
                self.roles.barrier(header.xid, self.display_dpid());
                answered = true;
            }
            Ok((_, Message::RoleReply(reply))) => self.role_reply(header.xid, reply, now, out),
            Ok((_, Message::PortStatus(status))) => self.description.change_port(status),
            Ok((_, Message::Error(error))) if self.role_error(header.xid, &error, now) => {}
            Ok((_, Message::Error(error))) => {
                self.received.errors += 1;
                answered = true;
                if !self.request_refused(header.xid, &error) {
                    tracing::warn!(remote = %self.remote, "the switch reported an error during the handshake: {error}");
                }
            }
            Ok((_, Message::PacketIn(_) | Message::FlowRemoved(_))) => {
                self.keep_early(header, frame)
            }
            Ok(_) => {}
            Err(error) => return self.malformed(header, &error, out),
        }
        if answered {
            self.transport.answered(header.xid);
            self.answered(header.xid);
        }
        self.become_ready_if_complete(out);
    }

    /// Notes that the answer to one of the handshake's requests is complete.
    fn answered(&mut self, xid: u32) {
        let ChannelState::Describing {
            ports,
            desc,
            barrier,
        } = &mut self.state
        else {
            return;
        };
        for waiting in [&mut *ports, &mut *desc, &mut *barrier] {
            waiting.take_if(|request| *request == xid);
        }
    }

    pub(super) fn become_ready_if_complete(&mut self, out: &mut Vec<ChannelOutput>) {
        let described = ChannelState::Describing {
            ports: None,
            desc: None,
            barrier: None,
        };
        if self.state == described && self.roles.is_settled() {
            self.state = ChannelState::Ready;
            out.push(ChannelOutput::Ready);
            let early = std::mem::take(&mut self.early);
            out.extend(
                early
                    .into_iter()
                    .map(|(header, frame)| ChannelOutput::Message(header, frame)),
            );
        }
    }

    /// Keeps a message until the channel is ready. Beyond the bound the newest are dropped.
    fn keep_early(&mut self, header: Header, frame: Bytes) {
        if self.early.len() < EARLY {
            self.early.push((header, frame));
        }
    }
}
