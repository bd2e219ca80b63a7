//! From the hello to a described switch.

use super::*;

impl Channel {
    pub(super) fn hello(
        &mut self,
        header: Header,
        frame: &Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if header.kind != MessageType::HELLO {
            let reason = format!("the first message is {}, not a hello", header.kind);
            return self.close(Level::WARN, reason, out);
        }
        match hello::negotiate(frame) {
            Ok(version) => {
                self.edge = (version == v10::VERSION).then(Edge::default);
                self.place(self.table);
                self.state = State::Features;
                self.say(
                    &Message::FeaturesRequest,
                    Asker::Channel,
                    Expects::Reply,
                    now,
                );
            }
            Err(incompatible) => {
                let refusal = hello::refusal(&incompatible, header.xid);
                self.out.extend_from_slice(&refusal);
                self.close(Level::WARN, incompatible.text, out);
            }
        }
    }

    pub(super) fn features(&mut self, header: Header, frame: &Bytes, out: &mut Vec<Output>) {
        match v13::decode(frame) {
            Ok((_, Message::FeaturesReply(features))) if features.auxiliary_id != 0 => {
                let reason = format!(
                    "auxiliary channel {} of {:016x}: only main channels are accepted",
                    features.auxiliary_id, features.datapath_id
                );
                self.close(Level::WARN, reason, out);
            }
            Ok((_, Message::FeaturesReply(features))) => {
                self.xids.done(header.xid);
                self.state = State::Admission;
                let dpid = features.datapath_id;
                self.features = Some(features);
                out.push(Output::Identified { dpid });
            }
            Ok((_, Message::Error(error))) => {
                let reason = format!("refused the handshake: {error}");
                self.close(Level::WARN, reason, out);
            }
            Ok(_) => self.keep_early(header, frame.clone()),
            Err(error) => self.malformed(header, &error, out),
        }
    }

    pub(super) fn malformed(
        &mut self,
        header: Header,
        error: &morph_openflow::DecodeError,
        out: &mut Vec<Output>,
    ) {
        self.close(
            Level::WARN,
            format!("malformed {}: {error}", header.kind),
            out,
        );
    }

    pub(super) fn describe(&mut self, now: Instant) {
        if self.state != State::Admission {
            return;
        }
        // Whole packets to the controller: nothing is ever left in a switch's buffers.
        let config = Message::SetConfig(SwitchConfig {
            flags: 0,
            miss_send_len: 0xffff,
        });
        self.say(&config, Asker::Channel, Expects::Nothing, now);
        self.ask_role(now);
        let mut ask = |message| Some(self.say(&message, Asker::Channel, Expects::Reply, now));
        self.state = State::Describing {
            ports: ask(Message::MultipartRequest(MultipartRequest::PortDesc)),
            desc: ask(Message::MultipartRequest(MultipartRequest::Desc)),
            barrier: ask(Message::BarrierRequest),
        };
    }

    pub(super) fn described(
        &mut self,
        header: Header,
        frame: Bytes,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        let mut answered = false;
        match v13::decode(&frame) {
            Ok((_, Message::MultipartReply(reply))) => answered = self.description(reply),
            Ok((_, Message::BarrierReply)) => {
                self.role_passed_by(header.xid);
                answered = true;
            }
            Ok((_, Message::RoleReply(_))) => self.role_reply(header, &frame, now, out),
            Ok((_, Message::PortStatus(status))) => self.note_port(status),
            Ok((_, Message::Error(_))) if self.role_refused(header, &frame, now, out) => {}
            Ok((_, Message::Error(error))) => {
                self.errors += 1;
                answered = true;
                tracing::warn!(remote = %self.remote, "error during the handshake: {error}");
            }
            Ok((_, Message::PacketIn(_) | Message::FlowRemoved(_))) => {
                self.keep_early(header, frame)
            }
            Ok(_) => {}
            Err(error) => return self.malformed(header, &error, out),
        }
        if answered {
            self.xids.done(header.xid);
            self.described_by(header.xid);
        }
        self.ready_if_all_is_known(out);
    }

    /// The answer to this question is whole.
    fn described_by(&mut self, xid: u32) {
        let State::Describing {
            ports,
            desc,
            barrier,
        } = &mut self.state
        else {
            return;
        };
        for waiting in [&mut *ports, &mut *desc, &mut *barrier] {
            waiting.take_if(|asked| *asked == xid);
        }
    }

    pub(super) fn ready_if_all_is_known(&mut self, out: &mut Vec<Output>) {
        let described = State::Describing {
            ports: None,
            desc: None,
            barrier: None,
        };
        if self.state == described && self.roles.is_settled() {
            self.state = State::Ready;
            out.push(Output::Ready);
            let early = std::mem::take(&mut self.early);
            out.extend(
                early
                    .into_iter()
                    .map(|(header, frame)| Output::Message(header, frame)),
            );
        }
    }

    /// Whether the description is whole.
    fn description(&mut self, reply: MultipartReply) -> bool {
        match reply.body {
            MultipartBody::Desc(desc) => self.desc = Some(desc),
            MultipartBody::PortDesc(ports) => {
                self.ports
                    .extend(ports.into_iter().map(|port| (port.port_no, port)));
            }
            _ => {}
        }
        !reply.more
    }

    /// Beyond the bound the oldest stay: they are answered first.
    fn keep_early(&mut self, header: Header, frame: Bytes) {
        if self.early.len() < EARLY {
            self.early.push((header, frame));
        }
    }
}
