//! Actions on packets (section 7.2.5).

use bytes::Bytes;

use super::experimenter::NICIRA;
use super::nicira::Resubmit;
use super::oxm::Oxm;
use super::port;
use crate::error::{DecodeError, Problem};
use crate::wire::{Reader, Tlv, Tlvs, Writer, fixed};

/// `OFPCML_NO_BUFFER`: send the whole packet to the controller.
pub const WHOLE_PACKET: u16 = 0xffff;

const OUTPUT: u16 = 0;
const COPY_TTL_OUT: u16 = 11;
const COPY_TTL_IN: u16 = 12;
const SET_MPLS_TTL: u16 = 15;
const DEC_MPLS_TTL: u16 = 16;
const PUSH_VLAN: u16 = 17;
const POP_VLAN: u16 = 18;
const PUSH_MPLS: u16 = 19;
const POP_MPLS: u16 = 20;
const SET_QUEUE: u16 = 21;
const GROUP: u16 = 22;
const SET_NW_TTL: u16 = 23;
const DEC_NW_TTL: u16 = 24;
const SET_FIELD: u16 = 25;
const PUSH_PBB: u16 = 26;
const POP_PBB: u16 = 27;
const EXPERIMENTER: u16 = 0xffff;

fixed! {
    /// Body of `ofp_action_output` after the action header.
    struct OutputFixed = "action.output" {
        port: u32,
        max_len: u16,
        pad: [u8; 6],
    }
}

fixed! {
    /// Body of actions with a 32-bit value, after the action header.
    struct Word = "action" {
        value: u32,
    }
}

fixed! {
    /// Body of actions with a 16-bit value, after the action header.
    struct Half = "action" {
        value: u16,
        pad: [u8; 2],
    }
}

fixed! {
    /// Body of actions with an 8-bit value, after the action header.
    struct Octet = "action" {
        value: u8,
        pad: [u8; 3],
    }
}

/// Action on a packet. Unknown actions are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Action {
    /// Outputs the packet to a port.
    Output {
        /// Port number, physical or reserved (`OFPP_*`).
        port: u32,
        /// Maximum bytes to send if the port is the controller; ignored for other ports.
        max_len: u16,
    },
    /// Processes the packet through a group.
    Group(u32),
    /// Selects the queue of the output port.
    SetQueue(u32),
    /// Sets the IP TTL.
    SetNwTtl(u8),
    /// Decrements the IP TTL.
    DecNwTtl,
    /// Copies the TTL from the next-to-outermost header to the outermost.
    CopyTtlOut,
    /// Copies the TTL from the outermost header to the next-to-outermost.
    CopyTtlIn,
    /// Sets the MPLS TTL.
    SetMplsTtl(u8),
    /// Decrements the MPLS TTL.
    DecMplsTtl,
    /// Pushes a VLAN tag with this Ethertype.
    PushVlan(u16),
    /// Pops the outer VLAN tag.
    PopVlan,
    /// Pushes an MPLS tag with this Ethertype.
    PushMpls(u16),
    /// Pops the outer MPLS tag; the remaining payload has this Ethertype.
    PopMpls(u16),
    /// Pushes a PBB service tag with this Ethertype.
    PushPbb(u16),
    /// Pops the outer PBB service tag.
    PopPbb,
    /// Sets a header field to a value.
    SetField(Oxm),
    /// Nicira extension: looks the packet up again in a table.
    Resubmit(Resubmit),
    /// Action defined by an experimenter, kept as bytes.
    Experimenter {
        /// Experimenter id, such as [`NICIRA`].
        experimenter: u32,
        /// Bytes after the experimenter id, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Action of an unknown type, kept as bytes.
    Unknown {
        /// Action type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after the action header, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl Action {
    /// Output to a port. For the controller port it sends no bytes of the packet: use [`Action::to_controller`].
    pub fn output(port: u32) -> Action {
        Action::Output { port, max_len: 0 }
    }

    /// Output of the whole packet to the controller.
    pub fn to_controller() -> Action {
        Action::Output {
            port: port::CONTROLLER,
            max_len: WHOLE_PACKET,
        }
    }

    /// Sets a header field, such as `Oxm::ipv4_dst(addr)`. The rule's match has to say that packets have that field.
    pub fn set_field(field: Oxm) -> Action {
        Action::SetField(field)
    }

    /// Returns the normal form: `max_len` is 0 unless the port is the controller, and the field of a set-field is
    /// normal.
    pub fn normal(&self) -> Action {
        match self {
            Action::Output { port, .. } if *port != port::CONTROLLER => Action::output(*port),
            Action::SetField(oxm) => Action::SetField(oxm.normal().unwrap_or_else(|| oxm.clone())),
            other => other.clone(),
        }
    }

    fn decode(tlv: Tlv<'_>) -> Result<Action, DecodeError> {
        let mut body = tlv.body;
        let action = match tlv.kind {
            OUTPUT => {
                let fixed = body.fixed::<OutputFixed>()?;
                Action::Output {
                    port: fixed.port(),
                    max_len: fixed.max_len(),
                }
            }
            COPY_TTL_OUT => empty(&mut body, Action::CopyTtlOut)?,
            COPY_TTL_IN => empty(&mut body, Action::CopyTtlIn)?,
            SET_MPLS_TTL => Action::SetMplsTtl(body.fixed::<Octet>()?.value()),
            DEC_MPLS_TTL => empty(&mut body, Action::DecMplsTtl)?,
            PUSH_VLAN => Action::PushVlan(body.fixed::<Half>()?.value()),
            POP_VLAN => empty(&mut body, Action::PopVlan)?,
            PUSH_MPLS => Action::PushMpls(body.fixed::<Half>()?.value()),
            POP_MPLS => Action::PopMpls(body.fixed::<Half>()?.value()),
            SET_QUEUE => Action::SetQueue(body.fixed::<Word>()?.value()),
            GROUP => Action::Group(body.fixed::<Word>()?.value()),
            SET_NW_TTL => Action::SetNwTtl(body.fixed::<Octet>()?.value()),
            DEC_NW_TTL => empty(&mut body, Action::DecNwTtl)?,
            SET_FIELD => set_field(&tlv, &mut body)?,
            PUSH_PBB => Action::PushPbb(body.fixed::<Half>()?.value()),
            POP_PBB => empty(&mut body, Action::PopPbb)?,
            EXPERIMENTER => experimenter(&mut body)?,
            kind => Action::Unknown {
                kind,
                body: body.rest(),
            },
        };
        body.finish("action")?;
        Ok(action)
    }

    pub(crate) fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Action::Output { port, max_len } => w.tlv("action", OUTPUT, |w| {
                w.fixed(&OutputFixed {
                    port: (*port).into(),
                    max_len: (*max_len).into(),
                    pad: [0; 6],
                });
            }),
            Action::Group(id) => word(w, GROUP, *id),
            Action::SetQueue(id) => word(w, SET_QUEUE, *id),
            Action::SetNwTtl(ttl) => octet(w, SET_NW_TTL, *ttl),
            Action::DecNwTtl => w.tlv("action", DEC_NW_TTL, |_| ()),
            Action::CopyTtlOut => w.tlv("action", COPY_TTL_OUT, |_| ()),
            Action::CopyTtlIn => w.tlv("action", COPY_TTL_IN, |_| ()),
            Action::SetMplsTtl(ttl) => octet(w, SET_MPLS_TTL, *ttl),
            Action::DecMplsTtl => w.tlv("action", DEC_MPLS_TTL, |_| ()),
            Action::PushVlan(ethertype) => half(w, PUSH_VLAN, *ethertype),
            Action::PopVlan => w.tlv("action", POP_VLAN, |_| ()),
            Action::PushMpls(ethertype) => half(w, PUSH_MPLS, *ethertype),
            Action::PopMpls(ethertype) => half(w, POP_MPLS, *ethertype),
            Action::PushPbb(ethertype) => half(w, PUSH_PBB, *ethertype),
            Action::PopPbb => w.tlv("action", POP_PBB, |_| ()),
            Action::SetField(oxm) => w.tlv("action.set_field", SET_FIELD, |w| oxm.encode(w)),
            Action::Resubmit(resubmit) => w.tlv("action", EXPERIMENTER, |w| {
                w.bytes(&NICIRA.to_be_bytes());
                resubmit.encode(w);
            }),
            Action::Experimenter { experimenter, body } => w.tlv("action", EXPERIMENTER, |w| {
                w.bytes(&experimenter.to_be_bytes());
                w.bytes(body);
            }),
            Action::Unknown { kind, body } => w.tlv("action", *kind, |w| w.bytes(body)),
        }
    }
}

/// Decodes an action without a value; its body is four bytes of padding.
fn empty(body: &mut Reader<'_>, action: Action) -> Result<Action, DecodeError> {
    body.skip("action.pad", 4)?;
    Ok(action)
}

/// Decodes a resubmit; other experimenter actions are kept as bytes.
fn experimenter(body: &mut Reader<'_>) -> Result<Action, DecodeError> {
    let experimenter = body.fixed::<Word>()?.value();
    let nicira = experimenter == NICIRA;
    let resubmit = nicira.then(|| Resubmit::decode(*body)).flatten();
    let body = body.rest();
    Ok(match resubmit {
        Some(resubmit) => Action::Resubmit(resubmit),
        None => Action::Experimenter { experimenter, body },
    })
}

/// Decodes a set-field action, whose length must be that of its field plus padding.
fn set_field(tlv: &Tlv<'_>, body: &mut Reader<'_>) -> Result<Action, DecodeError> {
    let oxm = Oxm::decode(body)?;
    let expected = (body.offset() - tlv.offset).next_multiple_of(crate::wire::ALIGN);
    if tlv.length != expected {
        let found = tlv.length;
        let problem = Problem::Length { found, expected };
        return Err(DecodeError::new(
            "action.set_field.length",
            tlv.offset + 2,
            problem,
        ));
    }
    body.skip("action.set_field.pad", body.left())?;
    Ok(Action::SetField(oxm))
}

fn word(w: &mut Writer<'_>, kind: u16, value: u32) {
    let value = value.into();
    w.tlv("action", kind, |w| w.fixed(&Word { value }));
}

fn half(w: &mut Writer<'_>, kind: u16, value: u16) {
    let (value, pad) = (value.into(), [0; 2]);
    w.tlv("action", kind, |w| w.fixed(&Half { value, pad }));
}

fn octet(w: &mut Writer<'_>, kind: u16, value: u8) {
    let pad = [0; 3];
    w.tlv("action", kind, |w| w.fixed(&Octet { value, pad }));
}

/// Decodes actions up to the end of the reader.
pub(crate) fn decode_all(reader: Reader<'_>) -> Result<Vec<Action>, DecodeError> {
    Tlvs::aligned("action", reader)
        .map(|tlv| Action::decode(tlv?))
        .collect()
}

pub(crate) fn encode_all(actions: &[Action], w: &mut Writer<'_>) {
    for action in actions {
        action.encode(w);
    }
}
