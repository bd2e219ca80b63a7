//! Actions (section 7.2.5).

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
    /// Of `ofp_action_output`, what follows its header.
    struct OutputFixed = "action.output" {
        port: u32,
        max_len: u16,
        pad: [u8; 6],
    }
}

fixed! {
    /// Of actions with 32 bits, what follows their header.
    struct Word = "action" {
        value: u32,
    }
}

fixed! {
    /// Of actions with 16 bits, what follows their header.
    struct Half = "action" {
        value: u16,
        pad: [u8; 2],
    }
}

fixed! {
    /// Of actions with 8 bits, what follows their header.
    struct Octet = "action" {
        value: u8,
        pad: [u8; 3],
    }
}

/// What is done to a packet. Those that are not known are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Action {
    /// Sends it out.
    Output {
        /// Where, also one of the reserved ports.
        port: u32,
        /// How much of it, where the port is the controller.
        max_len: u16,
    },
    /// Lets a group handle it.
    Group(u32),
    /// Puts it into a queue of the port it goes out of.
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
    /// Pops the outer MPLS tag; what is under it has this Ethertype.
    PopMpls(u16),
    /// Pushes a PBB service tag with this Ethertype.
    PushPbb(u16),
    /// Pops the outer PBB service tag.
    PopPbb,
    /// Sets a header field.
    SetField(Oxm),
    /// Nicira's: looks the packet up again.
    Resubmit(Resubmit),
    /// An experimenter's own.
    Experimenter {
        /// Whose.
        experimenter: u32,
        /// After the experimenter's id, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// One that OpenFlow 1.3 does not know.
    Unknown {
        /// Its type.
        #[serde(rename = "type")]
        kind: u16,
        /// After its header, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl Action {
    /// Out of a port; of a packet to the controller, none of it: use [`Action::to_controller`].
    pub fn output(port: u32) -> Action {
        Action::Output { port, max_len: 0 }
    }

    /// The whole packet to the controller.
    pub fn to_controller() -> Action {
        Action::Output {
            port: port::CONTROLLER,
            max_len: WHOLE_PACKET,
        }
    }

    /// The normal form: without `max_len` where the port is not the controller, and a set-field without mask.
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

/// Four bytes of padding are all that an action without a value has.
fn empty(body: &mut Reader<'_>, action: Action) -> Result<Action, DecodeError> {
    body.skip("action.pad", 4)?;
    Ok(action)
}

/// One that is modelled, or as it is.
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

/// The action is as long as its field, padded.
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

/// All actions up to the end of what they are in.
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
