//! Actions on packets (section 5.2.4).

use std::net::Ipv4Addr;

use bytes::Bytes;

use super::port;
use crate::addr::MacAddr;
use crate::error::DecodeError;
use crate::wire::{Reader, Tlv, Tlvs, Writer, fixed};

const OUTPUT: u16 = 0;
const SET_VLAN_VID: u16 = 1;
const SET_VLAN_PCP: u16 = 2;
const STRIP_VLAN: u16 = 3;
const SET_DL_SRC: u16 = 4;
const SET_DL_DST: u16 = 5;
const SET_NW_SRC: u16 = 6;
const SET_NW_DST: u16 = 7;
const SET_NW_TOS: u16 = 8;
const SET_TP_SRC: u16 = 9;
const SET_TP_DST: u16 = 10;
const ENQUEUE: u16 = 11;
const VENDOR: u16 = 0xffff;

fixed! {
    /// Body of `ofp_action_output` after the action header.
    struct OutputFixed = "action.output" {
        port: u16,
        max_len: u16,
    }
}

fixed! {
    /// Body of `ofp_action_enqueue` after the action header.
    struct EnqueueFixed = "action.enqueue" {
        port: u16,
        pad: [u8; 6],
        queue_id: u32,
    }
}

fixed! {
    /// Body of `ofp_action_dl_addr` after the action header.
    struct DlAddrFixed = "action.dl_addr" {
        addr: MacAddr,
        pad: [u8; 6],
    }
}

fixed! {
    /// Body of `ofp_action_nw_addr` after the action header.
    struct NwAddrFixed = "action.nw_addr" {
        addr: [u8; 4],
    }
}

fixed! {
    /// Body of `ofp_action_vendor_header` after the action header.
    struct ActionVendorFixed = "action.vendor" {
        vendor: u32,
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
        port: u16,
        /// Maximum bytes to send if the port is the controller; ignored for other ports.
        max_len: u16,
    },
    /// Sets the VLAN id; pushes a tag if there is none.
    SetVlanVid(u16),
    /// Sets the VLAN priority; pushes a tag if there is none.
    SetVlanPcp(u8),
    /// Removes the VLAN tag, if there is one.
    StripVlan,
    /// Sets the Ethernet source address.
    SetDlSrc(MacAddr),
    /// Sets the Ethernet destination address.
    SetDlDst(MacAddr),
    /// Sets the IP source address.
    SetNwSrc(Ipv4Addr),
    /// Sets the IP destination address.
    SetNwDst(Ipv4Addr),
    /// Sets the IP DSCP, given in the upper six bits.
    SetNwTos(u8),
    /// Sets the TCP or UDP source port.
    SetTpSrc(u16),
    /// Sets the TCP or UDP destination port.
    SetTpDst(u16),
    /// Outputs the packet through a queue of a port.
    Enqueue {
        /// Port number, physical or `port::IN_PORT`.
        port: u16,
        /// Queue id within the port.
        queue_id: u32,
    },
    /// Action defined by a vendor, kept as bytes.
    Vendor {
        /// Vendor id, as in `OFPT_VENDOR`.
        vendor: u32,
        /// Bytes after the vendor id, padding included.
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
    pub fn output(port: u16) -> Action {
        Action::Output { port, max_len: 0 }
    }

    /// Output of the whole packet to the controller.
    pub fn to_controller() -> Action {
        Action::Output {
            port: port::CONTROLLER,
            max_len: 0xffff,
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
            SET_VLAN_VID => Action::SetVlanVid(body.fixed::<Half>()?.value()),
            SET_VLAN_PCP => Action::SetVlanPcp(body.fixed::<Octet>()?.value()),
            STRIP_VLAN => {
                body.skip("action.pad", 4)?;
                Action::StripVlan
            }
            SET_DL_SRC => Action::SetDlSrc(body.fixed::<DlAddrFixed>()?.addr()),
            SET_DL_DST => Action::SetDlDst(body.fixed::<DlAddrFixed>()?.addr()),
            SET_NW_SRC => Action::SetNwSrc(body.fixed::<NwAddrFixed>()?.addr().into()),
            SET_NW_DST => Action::SetNwDst(body.fixed::<NwAddrFixed>()?.addr().into()),
            SET_NW_TOS => Action::SetNwTos(body.fixed::<Octet>()?.value()),
            SET_TP_SRC => Action::SetTpSrc(body.fixed::<Half>()?.value()),
            SET_TP_DST => Action::SetTpDst(body.fixed::<Half>()?.value()),
            ENQUEUE => {
                let fixed = body.fixed::<EnqueueFixed>()?;
                Action::Enqueue {
                    port: fixed.port(),
                    queue_id: fixed.queue_id(),
                }
            }
            VENDOR => Action::Vendor {
                vendor: body.fixed::<ActionVendorFixed>()?.vendor(),
                body: body.rest(),
            },
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
                });
            }),
            Action::SetVlanVid(vid) => half(w, SET_VLAN_VID, *vid),
            Action::SetVlanPcp(pcp) => octet(w, SET_VLAN_PCP, *pcp),
            Action::StripVlan => w.tlv("action", STRIP_VLAN, |_| ()),
            Action::SetDlSrc(addr) => dl_addr(w, SET_DL_SRC, *addr),
            Action::SetDlDst(addr) => dl_addr(w, SET_DL_DST, *addr),
            Action::SetNwSrc(addr) => nw_addr(w, SET_NW_SRC, *addr),
            Action::SetNwDst(addr) => nw_addr(w, SET_NW_DST, *addr),
            Action::SetNwTos(tos) => octet(w, SET_NW_TOS, *tos),
            Action::SetTpSrc(number) => half(w, SET_TP_SRC, *number),
            Action::SetTpDst(number) => half(w, SET_TP_DST, *number),
            Action::Enqueue { port, queue_id } => w.tlv("action", ENQUEUE, |w| {
                w.fixed(&EnqueueFixed {
                    port: (*port).into(),
                    pad: [0; 6],
                    queue_id: (*queue_id).into(),
                });
            }),
            Action::Vendor { vendor, body } => w.tlv("action", VENDOR, |w| {
                w.fixed(&ActionVendorFixed {
                    vendor: (*vendor).into(),
                });
                w.bytes(body);
            }),
            Action::Unknown { kind, body } => w.tlv("action", *kind, |w| w.bytes(body)),
        }
    }
}

fn half(w: &mut Writer<'_>, kind: u16, value: u16) {
    let (value, pad) = (value.into(), [0; 2]);
    w.tlv("action", kind, |w| w.fixed(&Half { value, pad }));
}

fn octet(w: &mut Writer<'_>, kind: u16, value: u8) {
    let pad = [0; 3];
    w.tlv("action", kind, |w| w.fixed(&Octet { value, pad }));
}

fn dl_addr(w: &mut Writer<'_>, kind: u16, addr: MacAddr) {
    let pad = [0; 6];
    w.tlv("action", kind, |w| w.fixed(&DlAddrFixed { addr, pad }));
}

fn nw_addr(w: &mut Writer<'_>, kind: u16, addr: Ipv4Addr) {
    let addr = addr.octets();
    w.tlv("action", kind, |w| w.fixed(&NwAddrFixed { addr }));
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
