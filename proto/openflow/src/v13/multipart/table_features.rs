//! `OFPMP_TABLE_FEATURES` (section 7.3.5.5): what tables can do, and in requests what they shall.

use bytes::Bytes;

use crate::error::{DecodeError, Problem};
use crate::v13::oxm::{OxmField, OxmHeader};
use crate::wire::{Fixed, Padding, Reader, Tlv, Tlvs, Writer, fixed, read_text, write_text};

/// `OFP_MAX_TABLE_NAME_LEN`.
const NAME_LEN: usize = 32;
/// What most lists of features call themselves in errors.
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
    struct ExperimenterFixed = "table_feature_prop.experimenter" {
        experimenter: u32,
        exp_type: u32,
    }
}

fixed! {
    /// Behind an experimenter's OXM.
    struct OxmExperimenter = "oxm.experimenter" {
        experimenter: u32,
    }
}

/// What a table can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct TableFeatures {
    /// Which table.
    pub table_id: u8,
    /// Its name, at most 31 bytes.
    pub name: String,
    /// Bits of metadata that it can match.
    pub metadata_match: u64,
    /// Bits of metadata that it can write.
    pub metadata_write: u64,
    /// `OFPTC_*`: only deprecated bits.
    pub config: u32,
    /// How many rules fit.
    pub max_entries: u32,
    /// What its rules can do.
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

/// An instruction or an action, by its type alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FeatureId {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: u16,
    /// After type and length: nothing, but of an experimenter's, which begins with the experimenter's id.
    #[serde(serialize_with = "crate::serial::hex")]
    pub body: Bytes,
}

impl FeatureId {
    /// That of a type of the specification's.
    pub fn new(kind: u16) -> FeatureId {
        let body = Bytes::new();
        FeatureId { kind, body }
    }
}

/// A field, by its OXM header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct OxmId {
    /// Which field.
    pub field: OxmField,
    /// It can have a mask.
    pub has_mask: bool,
    /// Of the field's value, and mask.
    pub length: u8,
    /// Whose, if it is an experimenter's.
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

/// An experimenter's own property of a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExperimenterFeature {
    /// Whose.
    pub experimenter: u32,
    /// What it means depends on whose it is.
    pub exp_type: u32,
    /// After its type.
    #[serde(serialize_with = "crate::serial::hex")]
    pub data: Bytes,
}

/// The body of a property.
trait Body: Sized {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError>;
    fn write(&self, w: &mut Writer<'_>);
}

impl Body for Vec<FeatureId> {
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

impl Body for Vec<OxmId> {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        body.all(OxmId::decode)
    }

    fn write(&self, w: &mut Writer<'_>) {
        self.iter().for_each(|id| id.encode(w));
    }
}

/// Ids of tables.
impl Body for Bytes {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(body.rest())
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }
}

impl Body for ExperimenterFeature {
    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fixed = body.fixed::<ExperimenterFixed>()?;
        Ok(ExperimenterFeature {
            experimenter: fixed.experimenter(),
            exp_type: fixed.exp_type(),
            data: body.rest(),
        })
    }

    fn write(&self, w: &mut Writer<'_>) {
        w.fixed(&ExperimenterFixed {
            experimenter: self.experimenter.into(),
            exp_type: self.exp_type.into(),
        });
        w.bytes(&self.data);
    }
}

/// Declares the properties: each its number and what is in it.
macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident($(#[$as:meta])? $body:ty) = $number:literal;)*) => {
        /// What the rules of a table can do; `Miss` says it of the rule for packets that match no other, where that can do
        /// something else. Those that are not known are kept as they are.
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        pub enum TableFeature {
            $($(#[$doc])* $name($(#[$as])? $body),)*
            /// One that OpenFlow 1.3 does not know.
            Unknown {
                /// Its type.
                #[serde(rename = "type")]
                kind: u16,
                /// After type and length.
                #[serde(serialize_with = "crate::serial::hex")]
                body: Bytes,
            },
        }

        impl TableFeature {
            /// Its type on the wire.
            pub fn kind(&self) -> u16 {
                match self {
                    $(TableFeature::$name(_) => $number,)*
                    TableFeature::Unknown { kind, .. } => *kind,
                }
            }

            fn decode(tlv: Tlv<'_>) -> Result<Self, DecodeError> {
                let mut body = tlv.body;
                let property = match tlv.kind {
                    $($number => TableFeature::$name(Body::read(&mut body)?),)*
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
    /// Instructions.
    Instructions(Vec<FeatureId>) = 0;
    /// Instructions.
    InstructionsMiss(Vec<FeatureId>) = 1;
    /// Tables to go to: a byte each.
    NextTables(#[serde(serialize_with = "crate::serial::hex")] Bytes) = 2;
    /// Tables to go to: a byte each.
    NextTablesMiss(#[serde(serialize_with = "crate::serial::hex")] Bytes) = 3;
    /// Actions that can be written into the action set.
    WriteActions(Vec<FeatureId>) = 4;
    /// Actions that can be written into the action set.
    WriteActionsMiss(Vec<FeatureId>) = 5;
    /// Actions that can be carried out at once.
    ApplyActions(Vec<FeatureId>) = 6;
    /// Actions that can be carried out at once.
    ApplyActionsMiss(Vec<FeatureId>) = 7;
    /// Fields that can be matched.
    Match(Vec<OxmId>) = 8;
    /// Fields that need not be matched.
    Wildcards(Vec<OxmId>) = 10;
    /// Fields that can be set by actions in the action set.
    WriteSetfield(Vec<OxmId>) = 12;
    /// Fields that can be set by actions in the action set.
    WriteSetfieldMiss(Vec<OxmId>) = 13;
    /// Fields that can be set at once.
    ApplySetfield(Vec<OxmId>) = 14;
    /// Fields that can be set at once.
    ApplySetfieldMiss(Vec<OxmId>) = 15;
    /// An experimenter's own.
    Experimenter(ExperimenterFeature) = 0xfffe;
    /// An experimenter's own.
    ExperimenterMiss(ExperimenterFeature) = 0xffff;
}
