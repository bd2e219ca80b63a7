//! Everything that the author of a Morpheus application needs.
//!
//! An app implements [`App`]: events go in, changes of its [`Table`]s and packet-outs come out, and its rules are a
//! function of the [`View`]. Its `main` is one line, [`run`]. The runtime does the rest: it applies each event exactly
//! once, keeps the switches' rules as the app states them, and lets another instance or release carry on where this one
//! stopped.
//!
//! | module | content |
//! |---|---|
//! | [`packet`] | packets, as far as most apps look at them |
//! | [`lldp`] | probes of links |
//! | [`mod@bench`] | a bench for an app's tests |
//! | [`machine`] | the machine of an instance: for the model of the hand-over, not for apps |
#![doc = ""]
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

// Code that the derive macros make names the SDK as apps do.
extern crate self as morph_sdk;

mod alarms;
mod app;
mod backoff;
mod bound;
mod describe;
mod engine;
mod entries;
mod error;
mod event;
mod groups;
mod index;
mod install;
mod instance;
mod key;
mod key_text;
mod limit;
mod migration;
mod rank;
mod recent;
mod room;
mod rule_loss;
mod rules;
#[cfg(feature = "run")]
mod runtime;
mod setting;
mod shape;
mod table;
mod table_rows;
mod timers;
mod turn;
mod view;
mod wanted;

pub mod bench;
pub mod machine;
pub mod packet;

pub use alarms::Alarm;
pub use app::{App, ChangedRow, Changes, RowChange, RuleInput};
pub use bound::Evict;
pub use error::{AppError, MigrationError};
pub use event::{Event, FlowRemoved, PacketIn, PortInfo, PortReason, Switch};
pub use index::Index;
pub use key::{Key, KeyPrefix};
pub use key_text::{KeyParts, KeyText};
pub use limit::Limit;
pub use migration::{Migration, Migrations, Rows, group_by};
pub use recent::RecentFrames;
pub use rules::{GroupBuilder, MeterBuilder, RuleBuilder, Rules, Watch};
#[cfg(feature = "run")]
pub use runtime::{run, run_with_migration};
pub use setting::Setting;
pub use shape::TableShape;
pub use table::Table;
pub use table_rows::Row;
pub use timers::{DueTimer, Timer};
pub use turn::{PacketOut, Turn};
pub use view::{Pipeline, View};

pub use bytes::Bytes;
pub use morph_api::alarm::AlarmRow;
pub use morph_openflow::entry::{EntryBody, EntryKey, EntrySet};
pub use morph_openflow::lldp;
pub use morph_openflow::rule::{RuleBody, RuleKey, RuleSet};
pub use morph_openflow::v13::{
    Action, FlowMod, FlowModCommand, Instruction, Match, Message, MeterBand, Oxm, OxmField, port,
};
pub use morph_openflow::{Dpid, MacAddr, Vlan};
/// Derives the trait [`Key`](trait@Key) for a struct whose fields are keys, or for an enum without fields.
pub use morph_sdk_derive::Key;
pub use tracing;
