//! Instructions of a rule (section 7.2.4).

use bytes::Bytes;

use super::action::{self, Action};
use crate::error::DecodeError;
use crate::wire::{Reader, Tlv, Tlvs, Writer, fixed};

const GOTO_TABLE: u16 = 1;
const WRITE_METADATA: u16 = 2;
const WRITE_ACTIONS: u16 = 3;
const APPLY_ACTIONS: u16 = 4;
const CLEAR_ACTIONS: u16 = 5;
const METER: u16 = 6;
const EXPERIMENTER: u16 = 0xffff;

fixed! {
    /// Body of `ofp_instruction_goto_table` after the instruction header.
    struct GotoTableFixed = "instruction.goto_table" {
        table_id: u8,
        pad: [u8; 3],
    }
}

fixed! {
    /// Body of `ofp_instruction_write_metadata` after the instruction header.
    struct WriteMetadataFixed = "instruction.write_metadata" {
        pad: [u8; 4],
        metadata: u64,
        metadata_mask: u64,
    }
}

fixed! {
    /// Body of `ofp_instruction_meter` and of experimenter instructions, after the instruction header.
    struct IdFixed = "instruction" {
        value: u32,
    }
}

/// Instruction for matching packets. Unknown instructions are kept as bytes and encoded unchanged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Instruction {
    /// Continues in a later table.
    GotoTable(u8),
    /// Writes metadata for later tables.
    WriteMetadata {
        /// Value to write.
        #[serde(serialize_with = "crate::serial::hex_number")]
        metadata: u64,
        /// Bits of the metadata to change.
        #[serde(serialize_with = "crate::serial::hex_number")]
        mask: u64,
    },
    /// Merges actions into the action set, which is executed at the end of the pipeline.
    WriteActions(Vec<Action>),
    /// Executes actions immediately, in order.
    ApplyActions(Vec<Action>),
    /// Clears the action set.
    ClearActions,
    /// Applies a meter, which may drop the packet.
    Meter(u32),
    /// Instruction defined by an experimenter, kept as bytes.
    Experimenter {
        /// Experimenter id, as in `OFPT_EXPERIMENTER`.
        experimenter: u32,
        /// Bytes after the experimenter id, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
    /// Instruction of an unknown type, kept as bytes.
    Unknown {
        /// Instruction type on the wire.
        #[serde(rename = "type")]
        kind: u16,
        /// Bytes after the instruction header, padding included.
        #[serde(serialize_with = "crate::serial::hex")]
        body: Bytes,
    },
}

impl Instruction {
    fn decode(tlv: Tlv<'_>) -> Result<Instruction, DecodeError> {
        let mut body = tlv.body;
        let instruction = match tlv.kind {
            GOTO_TABLE => Instruction::GotoTable(body.fixed::<GotoTableFixed>()?.table_id()),
            WRITE_METADATA => {
                let fixed = body.fixed::<WriteMetadataFixed>()?;
                Instruction::WriteMetadata {
                    metadata: fixed.metadata(),
                    mask: fixed.metadata_mask(),
                }
            }
            WRITE_ACTIONS => Instruction::WriteActions(actions(&mut body)?),
            APPLY_ACTIONS => Instruction::ApplyActions(actions(&mut body)?),
            CLEAR_ACTIONS => {
                body.skip("instruction.pad", 4)?;
                Instruction::ClearActions
            }
            METER => Instruction::Meter(body.fixed::<IdFixed>()?.value()),
            EXPERIMENTER => Instruction::Experimenter {
                experimenter: body.fixed::<IdFixed>()?.value(),
                body: body.rest(),
            },
            kind => Instruction::Unknown {
                kind,
                body: body.rest(),
            },
        };
        body.finish("instruction")?;
        Ok(instruction)
    }

    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Instruction::GotoTable(table_id) => w.tlv("instruction", GOTO_TABLE, |w| {
                w.fixed(&GotoTableFixed {
                    table_id: *table_id,
                    pad: [0; 3],
                });
            }),
            Instruction::WriteMetadata { metadata, mask } => {
                w.tlv("instruction", WRITE_METADATA, |w| {
                    w.fixed(&WriteMetadataFixed {
                        pad: [0; 4],
                        metadata: (*metadata).into(),
                        metadata_mask: (*mask).into(),
                    });
                });
            }
            Instruction::WriteActions(actions) => list(w, WRITE_ACTIONS, actions),
            Instruction::ApplyActions(actions) => list(w, APPLY_ACTIONS, actions),
            Instruction::ClearActions => list(w, CLEAR_ACTIONS, &[]),
            Instruction::Meter(id) => {
                let value = (*id).into();
                w.tlv("instruction", METER, |w| w.fixed(&IdFixed { value }));
            }
            Instruction::Experimenter { experimenter, body } => {
                w.tlv("instruction", EXPERIMENTER, |w| {
                    w.bytes(&experimenter.to_be_bytes());
                    w.bytes(body);
                });
            }
            Instruction::Unknown { kind, body } => {
                w.tlv("instruction", *kind, |w| w.bytes(body));
            }
        }
    }

    /// Order of execution in a switch (section 5.9), which is the order of the normal form.
    fn rank(&self) -> u8 {
        match self {
            Instruction::Meter(_) => 0,
            Instruction::ApplyActions(_) => 1,
            Instruction::ClearActions => 2,
            Instruction::WriteActions(_) => 3,
            Instruction::WriteMetadata { .. } => 4,
            Instruction::GotoTable(_) => 5,
            Instruction::Experimenter { .. } => 6,
            Instruction::Unknown { .. } => 7,
        }
    }

    fn normal(&self) -> Option<Instruction> {
        let all =
            |actions: &[Action]| -> Vec<Action> { actions.iter().map(Action::normal).collect() };
        match self {
            Instruction::ApplyActions(actions) | Instruction::WriteActions(actions)
                if actions.is_empty() =>
            {
                None
            }
            Instruction::ApplyActions(actions) => Some(Instruction::ApplyActions(all(actions))),
            Instruction::WriteActions(actions) => Some(Instruction::WriteActions(all(actions))),
            Instruction::WriteMetadata { mask: 0, .. } => None,
            Instruction::WriteMetadata { metadata, mask } => Some(Instruction::WriteMetadata {
                metadata: metadata & mask,
                mask: *mask,
            }),
            other => Some(other.clone()),
        }
    }
}

/// Returns the normal form of a list: in order of execution, without instructions that do nothing, and with actions
/// in normal form.
pub fn normal(instructions: &[Instruction]) -> Vec<Instruction> {
    let mut normal: Vec<Instruction> = instructions
        .iter()
        .filter_map(Instruction::normal)
        .collect();
    normal.sort_by_key(Instruction::rank);
    normal
}

fn actions(body: &mut Reader<'_>) -> Result<Vec<Action>, DecodeError> {
    body.skip("instruction.pad", 4)?;
    let actions = body.sub("instruction.actions", body.left())?;
    action::decode_all(actions)
}

fn list(w: &mut Writer<'_>, kind: u16, actions: &[Action]) {
    w.tlv("instruction", kind, |w| {
        w.zeros(4);
        action::encode_all(actions, w);
    });
}

/// Encodes an apply-actions instruction; nothing if there are no actions.
#[inline]
pub(crate) fn write_apply(actions: &[Action], w: &mut Writer<'_>) {
    if !actions.is_empty() {
        list(w, APPLY_ACTIONS, actions);
    }
}

/// Decodes instructions up to the end of the reader.
pub(crate) fn decode_all(reader: Reader<'_>) -> Result<Vec<Instruction>, DecodeError> {
    Tlvs::aligned("instruction", reader)
        .map(|tlv| Instruction::decode(tlv?))
        .collect()
}

pub(crate) fn encode_all(instructions: &[Instruction], w: &mut Writer<'_>) {
    for instruction in instructions {
        instruction.encode(w);
    }
}
