//! Events, and the switches that they come from.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use morph_api::cookie::Cookie;
use morph_api::session;
use morph_openflow::v13::{self, NO_BUFFER, PacketInView};
use morph_openflow::{DecodeError, Header, MessageType, v10};

use crate::{Dpid, MacAddr, Match, RuleKey};

/// Something that a switch reported. The app gets each event exactly once, or is told that events were lost.
///
/// ```
/// use morph_sdk::{AppError, Dpid, Event, Table, Turn};
///
/// const PORTS: Table<(Dpid, u32), bool> = Table::new("ports");
///
/// fn event(event: &Event, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     match event {
///         Event::SwitchUp(switch) => {
///             for port in switch.ports.values() {
///                 turn.put(&PORTS, &(switch.dpid, port.number), &port.is_up());
///             }
///         }
///         Event::PortStatus { dpid, port, .. } => {
///             turn.put(&PORTS, &(*dpid, port.number), &port.is_up());
///         }
///         Event::SwitchForgotten(dpid) => {
///             let keys: Vec<_> = turn.view().prefix(&PORTS, dpid).map(|(key, _)| key).collect();
///             for key in keys {
///                 turn.delete(&PORTS, &key);
///             }
///         }
///         _ => {}
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A packet that a rule of the app, or a miss in one of its tables, sent.
    PacketIn(PacketIn),
    /// A rule of the app ended that had asked to be told so.
    FlowRemoved(FlowRemoved),
    /// A port came, went or changed. The view has it already.
    PortStatus {
        /// Datapath id of the switch.
        dpid: Dpid,
        /// Kind of the change.
        reason: PortReason,
        /// The port as it is now, or was last.
        port: PortInfo,
    },
    /// A switch connected. The view has it already.
    SwitchUp(Switch),
    /// A switch is no longer connected.
    SwitchDown(Dpid),
    /// Packet-ins of a switch were dropped because the app did not keep up.
    Lost {
        /// Datapath id of the switch.
        dpid: Dpid,
        /// Number of dropped packet-ins.
        count: u64,
    },
    /// Events other than packet-ins may have been lost: compare what is stored about this switch with the view.
    Resync {
        /// Datapath id of the switch; `None` for all switches.
        dpid: Option<Dpid>,
    },
    /// A switch is gone for good, an operator says: delete what is stored about it. It is not connected; if it ever connects
    /// again, it does so as a new one.
    SwitchForgotten(Dpid),
}

/// A packet that a switch sent.
///
/// ```
/// use morph_sdk::packet::Ethernet;
/// use morph_sdk::{Action, AppError, PacketIn, Turn, port};
///
/// /// Sends a packet on by all other ports.
/// fn flood(packet: &PacketIn, turn: &mut Turn<'_>) -> Result<(), AppError> {
///     let frame = Ethernet::parse(&packet.data).ok_or_else(|| AppError::new("no Ethernet frame"))?;
///     if !frame.src.is_multicast() {
///         turn.forward(packet, packet.dpid, packet.in_port, vec![Action::output(port::FLOOD)]);
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PacketIn {
    /// Datapath id of the switch.
    pub dpid: Dpid,
    /// Port by which the packet came in.
    pub in_port: u32,
    /// Table that sent the packet.
    pub table: u8,
    /// Reason code `OFPR_*`: 0 no match, 1 an action, 2 invalid TTL.
    pub reason: u8,
    /// The app's own part of the cookie of the rule that sent it; 0 for a rule of another app.
    pub cookie_own: u32,
    /// Length of the whole frame in bytes.
    pub length: u16,
    /// Buffer in which the switch keeps the frame, if it does.
    pub buffer: Option<u32>,
    /// The frame, from its Ethernet header on; a switch may send its beginning only.
    pub data: Bytes,
}

/// A rule that ended.
///
/// ```
/// use morph_sdk::{Dpid, FlowRemoved, Table, Turn};
///
/// /// Connections by switch and the own part of their rules' cookies.
/// const CONNECTIONS: Table<(Dpid, u32), u64> = Table::new("connections");
///
/// /// The state that made the app want the rule goes with the rule: it would come back otherwise.
/// fn ended(removed: &FlowRemoved, turn: &mut Turn<'_>) {
///     turn.delete(&CONNECTIONS, &(removed.dpid, removed.cookie_own));
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FlowRemoved {
    /// Datapath id of the switch.
    pub dpid: Dpid,
    /// Table of the rule.
    pub table: u8,
    /// Priority of the rule.
    pub priority: u16,
    /// Match of the rule.
    pub matching: Match,
    /// The app's own part of the rule's cookie.
    pub cookie_own: u32,
    /// Reason code `OFPRR_*`: 0 idle timeout, 1 hard timeout, 2 deleted, 3 its group was deleted.
    pub reason: u8,
    /// Lifetime of the rule.
    pub duration: Duration,
    /// Number of packets that the rule matched.
    pub packets: u64,
    /// Number of bytes that the rule matched.
    pub bytes: u64,
}

/// Kind of a port's change (`ofp_port_reason`).
///
/// ```
/// use morph_sdk::bench::Bench;
/// use morph_sdk::{App, Dpid, Event, PortInfo, PortReason};
///
/// /// Pulls a cable, on the bench.
/// fn pull<A: App>(bench: &mut Bench<A>, dpid: Dpid, number: u32) {
///     let mut port = PortInfo::new(number);
///     port.state = 1; // OFPPS_LINK_DOWN
///     bench.event(Event::PortStatus { dpid, reason: PortReason::Modify, port });
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortReason {
    /// The port was added.
    Add,
    /// The port was removed.
    Delete,
    /// Some property of the port changed.
    Modify,
}

/// A connected switch.
///
/// ```
/// use morph_sdk::{Dpid, Switch};
///
/// let switch = Switch::new(Dpid(1), [1, 2, 3]);
/// let up: Vec<u32> = switch.ports.values().filter(|port| port.is_up()).map(|port| port.number).collect();
/// assert_eq!(up, [1, 2, 3]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Datapath id of the switch.
    pub dpid: Dpid,
    /// Number of the app's tables that the switch has. There are fewer than the manifest's `tables` only where its
    /// `least_tables` allows that, and one in a switch that speaks OpenFlow 1.0. No rule goes on to a table that is missing.
    pub tables: u32,
    /// Number of tables in the switch; 0 for one that speaks OpenFlow 1.0, where the app's first table stands for the only one.
    pub(crate) in_switch: u8,
    /// Ports by number, including LOCAL.
    pub ports: BTreeMap<u32, PortInfo>,
}

/// A port of a switch.
///
/// ```
/// use morph_sdk::PortInfo;
///
/// let mut port = PortInfo::new(7);
/// assert!(port.is_up() && port.is_physical());
/// port.config = 1; // OFPPC_PORT_DOWN
/// assert!(!port.is_up());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// Number of the port.
    pub number: u32,
    /// Name of the port on the switch.
    pub name: String,
    /// Hardware address of the port itself.
    pub hw_addr: MacAddr,
    /// Configuration bits, `ofp_port_config`.
    pub config: u32,
    /// State bits, `ofp_port_state`.
    pub state: u32,
}

impl PortInfo {
    /// Makes a port that is up, for tests.
    pub fn new(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        PortInfo {
            number,
            name: format!("port{number}"),
            hw_addr: MacAddr([2, 0, a, b, c, d]),
            config: 0,
            state: 0,
        }
    }

    /// Whether the port is neither switched off nor without a link.
    pub fn is_up(&self) -> bool {
        self.config & v13::port_config::DOWN == 0 && self.state & v13::port_state::LINK_DOWN == 0
    }

    /// Whether the port has a number of its own; LOCAL has none.
    pub fn is_physical(&self) -> bool {
        (1..=v13::port::MAX).contains(&self.number)
    }

    pub(crate) fn from_session(port: &session::Port) -> Self {
        PortInfo {
            number: port.number,
            name: port.name.clone(),
            hw_addr: MacAddr(<[u8; 6]>::try_from(&port.hw_addr[..]).unwrap_or_default()),
            config: port.config,
            state: port.state,
        }
    }

    fn from_openflow(port: &v13::Port) -> Self {
        PortInfo {
            number: port.port_no,
            name: port.name.clone(),
            hw_addr: port.hw_addr,
            config: port.config,
            state: port.state,
        }
    }
}

impl Switch {
    /// Makes a switch with these ports, all up, for tests.
    pub fn new(dpid: Dpid, ports: impl IntoIterator<Item = u32>) -> Self {
        Switch {
            dpid,
            tables: 254,
            in_switch: u8::MAX,
            ports: ports
                .into_iter()
                .map(|number| (number, PortInfo::new(number)))
                .collect(),
        }
    }

    pub(crate) fn from_session(up: &session::SwitchUp, range: (u8, u8)) -> Self {
        let in_switch = match up.version == u32::from(v10::VERSION) {
            true => 0,
            false => u8::try_from(up.tables).unwrap_or(u8::MAX),
        };
        Switch {
            dpid: Dpid(up.dpid),
            tables: Switch::own_tables(in_switch, range),
            in_switch,
            ports: up
                .ports
                .iter()
                .map(|port| (port.number, PortInfo::from_session(port)))
                .collect(),
        }
    }

    /// Number of an app's tables in a switch with so many.
    pub(crate) fn own_tables(in_switch: u8, (first, exit): (u8, u8)) -> u32 {
        match in_switch {
            0 => 1,
            all => all.min(exit).saturating_sub(first).into(),
        }
    }

    /// Applies a port's change. True if the port was another one before.
    pub(crate) fn port_status(&mut self, reason: PortReason, port: &PortInfo) -> bool {
        match reason {
            PortReason::Delete => self.ports.remove(&port.number).is_some(),
            PortReason::Add | PortReason::Modify => {
                self.ports.insert(port.number, port.clone()).as_ref() != Some(port)
            }
        }
    }
}

impl PacketIn {
    /// Whether `data` is the whole frame.
    pub fn is_whole(&self) -> bool {
        self.data.len() >= usize::from(self.length)
    }

    fn read(
        app: u8,
        dpid: Dpid,
        message: &Bytes,
        packet: PacketInView<'_>,
    ) -> Result<Self, DecodeError> {
        packet.fields().try_for_each(|field| field.map(drop))?;
        let fixed = packet.fixed();
        Ok(PacketIn {
            dpid,
            in_port: packet.in_port().unwrap_or_default(),
            table: fixed.table_id(),
            reason: fixed.reason(),
            cookie_own: own(app, fixed.cookie()),
            length: fixed.total_len(),
            buffer: Some(fixed.buffer_id()).filter(|id| *id != NO_BUFFER),
            data: message.slice_ref(packet.data()),
        })
    }
}

impl FlowRemoved {
    /// Whether the rule ended because no packet of it came for its idle timeout.
    pub fn is_idle(&self) -> bool {
        self.reason == v13::flow_removed::reason::IDLE_TIMEOUT
    }

    /// Key of the rule.
    pub(crate) fn key(&self) -> RuleKey {
        RuleKey::new(self.table, self.priority, &self.matching)
    }

    /// Whether the switch removed the rule by itself, because its idle or hard timeout had passed.
    pub(crate) fn is_timeout(&self) -> bool {
        is_timeout(self.reason)
    }
}

/// Key of the rule in a message of the switch, if the switch removed it by itself.
pub(crate) fn expired_key(removed: &v13::FlowRemoved) -> Option<RuleKey> {
    let v13::FlowRemoved {
        table_id, priority, ..
    } = *removed;
    is_timeout(removed.reason).then(|| RuleKey::new(table_id, priority, &removed.match_))
}

fn is_timeout(reason: u8) -> bool {
    use v13::flow_removed::reason::{HARD_TIMEOUT, IDLE_TIMEOUT};
    matches!(reason, IDLE_TIMEOUT | HARD_TIMEOUT)
}

impl Event {
    /// Datapath id of the switch that the event is about; `None` for an event of all switches.
    pub fn dpid(&self) -> Option<Dpid> {
        match self {
            Event::PacketIn(packet) => Some(packet.dpid),
            Event::FlowRemoved(removed) => Some(removed.dpid),
            Event::SwitchUp(switch) => Some(switch.dpid),
            Event::PortStatus { dpid, .. }
            | Event::SwitchDown(dpid)
            | Event::SwitchForgotten(dpid)
            | Event::Lost { dpid, .. } => Some(*dpid),
            Event::Resync { dpid } => *dpid,
        }
    }

    /// Event of an OpenFlow message, or `None` for a kind of message that is no event.
    pub(crate) fn read(app: u8, dpid: Dpid, message: &Bytes) -> Result<Option<Event>, DecodeError> {
        // Most events are packet-ins, whose match is not kept.
        if Header::read(message)?.kind == MessageType::PACKET_IN {
            let packet = PacketInView::new(message)?;
            return PacketIn::read(app, dpid, message, packet).map(|p| Some(Event::PacketIn(p)));
        }
        let (_, message) = v13::decode(message)?;
        Ok(Event::from_openflow(app, dpid, message))
    }

    fn from_openflow(app: u8, dpid: Dpid, message: v13::Message) -> Option<Event> {
        Some(match message {
            v13::Message::FlowRemoved(removed) => Event::FlowRemoved(FlowRemoved {
                dpid,
                table: removed.table_id,
                priority: removed.priority,
                cookie_own: own(app, removed.cookie),
                reason: removed.reason,
                duration: Duration::from_secs(removed.duration_sec.into())
                    + Duration::from_nanos(removed.duration_nsec.into()),
                packets: removed.packet_count,
                bytes: removed.byte_count,
                matching: removed.match_,
            }),
            v13::Message::PortStatus(status) => Event::PortStatus {
                dpid,
                reason: match status.reason {
                    0 => PortReason::Add,
                    1 => PortReason::Delete,
                    _ => PortReason::Modify,
                },
                port: PortInfo::from_openflow(&status.port),
            },
            _ => return None,
        })
    }
}

/// The app's own part of a cookie; 0 if the cookie is not the app's.
fn own(app: u8, cookie: u64) -> u32 {
    Cookie::from_u64(cookie)
        .filter(|cookie| cookie.app == app)
        .map_or(0, |cookie| cookie.own)
}
