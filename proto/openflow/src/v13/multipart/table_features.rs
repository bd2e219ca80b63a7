//! `OFPMP_TABLE_FEATURES` (section 7.3.5.5): capabilities of tables; in requests, the capabilities to configure.

use bytes::Bytes;

use crate::error::{DecodeError, Problem};
use crate::v13::oxm::{OxmField, OxmHeader};
use crate::wire::{Fixed, Padding, Reader, Tlv, Tlvs, Writer, fixed, read_text, write_text};

/// `OFP_MAX_TABLE_NAME_LEN`: field length in bytes.
const NAME_LEN: usize = 32;
/// Name of most property lists in errors.
const PROP: &str = "table_feature_prop";

fixed! {
    /// `ofp_table_features` up to its properties.
    struct TableFeaturesFixed = "table_features" {
        length: u16,
        table_id: u8,
        pad: [u8; 5],
        name: [u8; NAME_LEN],
        metadata_match: u64,
        metadata_write: u64,
        config: u32,
        max_entries: u32,
    }
}

fixed! {
    /// `ofp_table_feature_prop_experimenter` after its header.
    struct FeatureExperimenterFixed = "table_feature_prop.experimenter" {
        experimenter: u32,
        exp_type: u32,
    }
}

fixed! {
    /// Experimenter id that follows an experimenter's OXM id.
    struct OxmExperimenter = "oxm.experimenter" {
        experimenter: u32,
    }
}

/// Capabilities of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableFeatures {
    /// Table number in the pipeline.
    pub table_id: u8,
    /// Name of the table, at most 31 bytes.
    pub name: String,
    /// Metadata bits that the table can match.
    pub metadata_match: u64,
    /// Metadata bits that the table can write.
    pub metadata_write: u64,
    /// Bits of `OFPTC_*`, all deprecated.
    pub config: u32,
    /// Maximum number of rules.
    pub max_entries: u32,
    /// Capabilities of rules in the table.
    pub properties: Vec<TableFeature>,
}

impl TableFeatures {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = TableFeaturesFixed::length;
        let (fixed, properties) = reader.entry("table_features.length", 0, length)?;
        Ok(TableFeatures {
            table_id: fixed.table_id(),
            name: read_text(&fixed.name),
            metadata_match: fixed.metadata_match(),
            metadata_write: fixed.metadata_write(),
            config: fixed.config(),
            max_entries: fixed.max_entries(),
            properties: Tlvs::padded(PROP, properties)
                .map(|tlv| TableFeature::decode(tlv?))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        let start = w.position();
        w.fixed(&TableFeaturesFixed {
            length: 0.into(),
            table_id: self.table_id,
            pad: [0; 5],
            name: write_text(&self.name),
            metadata_match: self.metadata_match.into(),
            metadata_write: self.metadata_write.into(),
            config: self.config.into(),
            max_entries: self.max_entries.into(),
        });
        for property in &self.properties {
            let kind = property.kind();
            w.tlv_with(Padding::Follows, PROP, kind, |w| property.encode(w));
        }
        w.set_length(TableFeaturesFixed::NAME, start, w.position() - start);
    }
}

/// Type of an instruction or action, without its body.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FeatureId {
    /// Instruction or action type on the wire.
    #[serde(rename = "type")]
    pub kind: u16,
    /// Bytes after type and length: empty, except for experimenter types, where they begin with the experimenter
    /// id.
    #[serde(serialize_with = "crate::serial::hex")]
    pub body: Bytes,
}

impl FeatureId {
    /// Id of a type defined by the specification.
    pub fn new(kind: u16) -> FeatureId {
        let body = Bytes::new();
        FeatureId { kind, body }
    }
}

/// Type of a field: an OXM header without value and mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OxmId {
    /// Class and number of the field.
    pub field: OxmField,
    /// Tells whether the field can be masked.
    pub has_mask: bool,
    /// Length of value and mask together, in bytes.
    pub length: u8,
    /// Experimenter id, present for the class of experimenter fields.
    pub experimenter: Option<u32>,
}

impl OxmId {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = reader.fixed::<OxmHeader>()?;
        let experimenter = match header.class() {
            OxmField::EXPERIMENTER => Some(reader.fixed::<OxmExperimenter>()?.experimenter()),
            _ => None,
        };
        Ok(OxmId {
            field: OxmField(header.class(), header.field_mask() >> 1),
            has_mask: header.field_mask() & 1 == 1,
            length: header.length(),
            experimenter,
        })
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.fixed(&OxmHeader {
            class: self.field.0.into(),
            field_mask: self.field.1 << 1 | u8::from(self.has_mask),
            length: self.length,
        });
        if let Some(experimenter) = self.experimenter {
            w.bytes(&experimenter.to_be_bytes());
        }
    }
}

/// Table property defined by an experimenter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExperimenterFeature {
    /// Experimenter id, as in `OFPT_EXPERIMENTER`.
    pub experimenter: u32,
    /// Property type, defined by the experimenter.
    pub exp_type: u32,
    /// Bytes after the experimenter type.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

/// Codec of the body of a property.
trait PropertyBody: Sized {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer<'_>);
}

impl PropertyBody for Vec<FeatureId> {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let all = body.sub(PROP, body.left())?;
        let id = |mut tlv: Tlv<'_>| FeatureId {
            kind: tlv.kind,
            body: tlv.body.rest(),
        };
        Tlvs::packed(PROP, all).map(|tlv| tlv.map(id)).collect()
    }

    fn write(&self, w: &mut Writer<'_>) {
        for id in self {
            w.tlv_with(Padding::None, PROP, id.kind, |w| w.bytes(&id.body));
        }
    }
}

impl PropertyBody for Vec<OxmId> {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        body.all(OxmId::decode)
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.iter().for_each(|id| id.encode(w));
    }
}

/// List of table numbers, one byte each.
impl PropertyBody for Bytes {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(body.rest())
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }
}

impl PropertyBody for ExperimenterFeature {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = body.fixed::<FeatureExperimenterFixed>()?;
        Ok(ExperimenterFeature {
            experimenter: fixed.experimenter(),
            exp_type: fixed.exp_type(),
            data: body.rest(),
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.fixed(&FeatureExperimenterFixed {
            experimenter: self.experimenter.into(),
            exp_type: self.exp_type.into(),
        });
        w.bytes(&self.data);
    }
}

/// Declares the properties, each with its type on the wire and the type of its body.
macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident($(#[$as:meta])? $body:ty) = $number:literal;)*) => {
        /// Capabilities of the rules of a table. Variants ending in `Miss` describe the table-miss rule, if its
        /// capabilities differ. Unknown properties are kept as bytes and encoded unchanged.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        pub enum TableFeature {
            $($(#[$doc])* $name($(#[$as])? $body),)*
            /// Property of an unknown type, kept as bytes.
            Unknown {
                /// Property type on the wire.
                #[serde(rename = "type")]
                kind: u16,
                /// Bytes after type and length.
                #[serde(serialize_with = "crate::serial::hex")]
                body: Bytes,
            },
        }

        impl TableFeature {
            /// Property type on the wire.
            pub fn kind(&self) -> u16 {
                match self {
                    $(TableFeature::$name(_) => $number,)*
                    TableFeature::Unknown { kind, .. } => *kind,
                }
            }

            fn decode(tlv: Tlv<'_>) -> Result<Self, DecodeError> {
                let mut body = tlv.body;
                let property = match tlv.kind {
                    $($number => TableFeature::$name(PropertyBody::read(&mut body)?),)*
                    kind => TableFeature::Unknown { kind, body: body.rest() },
                };
                match body.left() {
                    0 => Ok(property),
                    found => Err(DecodeError::new(PROP, body.offset(), Problem::Trailing { found })),
                }
            }

            fn encode(&self, w: &mut Writer<'_>) {
                match self {
                    $(TableFeature::$name(body) => body.write(w),)*
                    TableFeature::Unknown { body, .. } => w.bytes(body),
                }
            }
        }
    };
}

properties! {
    /// Supported instructions of rules.
    Instructions(Vec<FeatureId>) = 0;
    /// Supported instructions of the table-miss rule.
    InstructionsMiss(Vec<FeatureId>) = 1;
    /// Tables reachable by goto-table, one byte each.
    NextTables(#[serde(serialize_with = "crate::serial::hex")] Bytes) = 2;
    /// Tables reachable from the table-miss rule, one byte each.
    NextTablesMiss(#[serde(serialize_with = "crate::serial::hex")] Bytes) = 3;
    /// Actions supported in write-actions.
    WriteActions(Vec<FeatureId>) = 4;
    /// Actions supported in write-actions of the table-miss rule.
    WriteActionsMiss(Vec<FeatureId>) = 5;
    /// Actions supported in apply-actions.
    ApplyActions(Vec<FeatureId>) = 6;
    /// Actions supported in apply-actions of the table-miss rule.
    ApplyActionsMiss(Vec<FeatureId>) = 7;
    /// Fields that rules can match.
    Match(Vec<OxmId>) = 8;
    /// Fields that rules may leave out.
    Wildcards(Vec<OxmId>) = 10;
    /// Fields that set-field supports in write-actions.
    WriteSetfield(Vec<OxmId>) = 12;
    /// Fields that set-field supports in write-actions of the table-miss rule.
    WriteSetfieldMiss(Vec<OxmId>) = 13;
    /// Fields that set-field supports in apply-actions.
    ApplySetfield(Vec<OxmId>) = 14;
    /// Fields that set-field supports in apply-actions of the table-miss rule.
    ApplySetfieldMiss(Vec<OxmId>) = 15;
    /// Property defined by an experimenter.
    Experimenter(ExperimenterFeature) = 0xfffe;
    /// Property of the table-miss rule, defined by an experimenter.
    ExperimenterMiss(ExperimenterFeature) = 0xffff;
}
