//! Commands that an app may send: for its own tables, cookies, groups and meters, and none that changes the channel
//! itself.

use std::fmt;

use morph_api::cookie::Cookie;
use morph_api::entry::{groups_of, meters_of};
use morph_openflow::v13::{VERSION, multipart_kind, peek};
use morph_openflow::{DecodeError, Header, MessageType};

use crate::channel::Expects;
use crate::dispatch::{Apps, PipelineApp};

/// Table number `OFPTT_ALL`.
const ALL_TABLES: u8 = 0xff;
/// Command `OFPFC_ADD`. Greater values are MODIFY and MODIFY_STRICT, then DELETE and DELETE_STRICT.
const ADD: u8 = 0;
const DELETE: u8 = 3;
const DELETE_STRICT: u8 = 4;
/// Length in bytes of a multipart request without a body.
const BARE_MULTIPART: usize = 16;

/// Kinds of commands, counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind {
    FlowMod,
    GroupMod,
    MeterMod,
    PacketOut,
    /// Multipart or barrier request.
    ReadRequest,
}

impl CommandKind {
    /// Returns whether the switch replies.
    pub(crate) fn expects(self) -> Expects {
        match self {
            CommandKind::ReadRequest => Expects::Reply,
            CommandKind::FlowMod
            | CommandKind::GroupMod
            | CommandKind::MeterMod
            | CommandKind::PacketOut => Expects::Nothing,
        }
    }
}

/// Reason why a command is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forbidden(String);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<DecodeError> for Forbidden {
    fn from(error: DecodeError) -> Self {
        Forbidden(error.to_string())
    }
}

fn forbid<T>(why: String) -> Result<T, Forbidden> {
    Err(Forbidden(why))
}

/// Classifies a command, or refuses it for this app and epoch.
pub(crate) fn check(
    apps: &Apps,
    app: &PipelineApp,
    epoch: u64,
    message: &[u8],
) -> Result<CommandKind, Forbidden> {
    let header = Header::read(message)?;
    if header.version != VERSION {
        return forbid(format!(
            "{} of wire version {}, not {VERSION}",
            header.kind, header.version
        ));
    }
    let kind = match header.kind {
        MessageType::FLOW_MOD => flow_mod(apps, app, epoch, message).map(|()| CommandKind::FlowMod),
        MessageType::GROUP_MOD => {
            let id = peek::group_mod(message)?.group_id();
            owned(app, "group", id, groups_of(app.id)).map(|()| CommandKind::GroupMod)
        }
        MessageType::METER_MOD => {
            let id = peek::meter_mod(message)?.meter_id();
            owned(app, "meter", id, meters_of(app.id)).map(|()| CommandKind::MeterMod)
        }
        MessageType::PACKET_OUT => Ok(CommandKind::PacketOut),
        MessageType::MULTIPART_REQUEST | MessageType::BARRIER_REQUEST => {
            read_request(header, message).map(|()| CommandKind::ReadRequest)
        }
        _ => forbid("apps may not send it".into()),
    };
    kind.map_err(|Forbidden(why)| Forbidden(format!("{}: {why}", header.kind)))
}

/// Checks a read request, which is allowed at any time, live or not.
pub(crate) fn check_read_request(message: &[u8]) -> Result<(), Forbidden> {
    let header = Header::read(message)?;
    match header.kind {
        MessageType::MULTIPART_REQUEST | MessageType::BARRIER_REQUEST
            if header.version == VERSION =>
        {
            read_request(header, message)
                .map_err(|Forbidden(why)| Forbidden(format!("{}: {why}", header.kind)))
        }
        kind => forbid(format!(
            "{kind}: between ReadBegin and ReadEnd only multipart and barrier requests are sent"
        )),
    }
}

/// Forbids multipart requests that would change table features.
fn read_request(header: Header, message: &[u8]) -> Result<(), Forbidden> {
    let changes_tables = header.kind == MessageType::MULTIPART_REQUEST
        && peek::multipart(message)?.kind() == multipart_kind::TABLE_FEATURES
        && message.len() > BARE_MULTIPART;
    match changes_tables {
        true => forbid("apps may not change table features".into()),
        false => Ok(()),
    }
}

fn flow_mod(apps: &Apps, app: &PipelineApp, epoch: u64, message: &[u8]) -> Result<(), Forbidden> {
    let flow = peek::flow_mod(message)?;
    let (table, command, cookie) = (flow.table_id(), flow.command(), flow.cookie());
    let deletes = command == DELETE || command == DELETE_STRICT;
    let (first, last) = (app.first_table, app.last_table - 1);
    let of_all = deletes && table == ALL_TABLES;
    // Rules that an earlier instance left in other tables are deleted.
    let of_any = command == DELETE_STRICT && (1..ALL_TABLES).contains(&table);
    if !of_all && !of_any && !apps.may_write(app, table) {
        return forbid(format!(
            "table {table} is outside {}'s tables, {first} to {last}",
            app.name
        ));
    }
    let (own, own_mask) = Cookie::all_of(app.id);
    if cookie & own_mask != own {
        return forbid(format!(
            "cookie {cookie:#018x} is not {}'s (app {})",
            app.name, app.id
        ));
    }
    if command == ADD {
        let bears = Cookie::from_u64(cookie).map(|cookie| cookie.epoch);
        if bears != Some(epoch as u16) {
            return forbid(format!("cookie {cookie:#018x} does not bear epoch {epoch}"));
        }
    } else if flow.cookie_mask() & own_mask != own_mask {
        return forbid(format!(
            "its cookie mask {:#018x} reaches beyond {}'s own rules",
            flow.cookie_mask(),
            app.name
        ));
    }
    Ok(())
}

fn owned(
    app: &PipelineApp,
    what: &str,
    id: u32,
    (first, last): (u32, u32),
) -> Result<(), Forbidden> {
    if (first..=last).contains(&id) {
        return Ok(());
    }
    forbid(format!(
        "{what} {id:#x} is outside {}'s, {first:#x} to {last:#x}",
        app.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use morph_openflow::v13::{FlowMod, FlowModCommand, Message, MultipartRequest};

    const EPOCH: u64 = 0x1_0005;

    fn app() -> PipelineApp {
        PipelineApp {
            name: "router".into(),
            id: 3,
            first_table: 20,
            last_table: 29,
            least_tables: 9,
            second_table: None,
            drops_absent: false,
            is_running: true,
            former: None,
        }
    }

    fn cookie(app: u8, epoch: u16) -> u64 {
        Cookie { app, epoch, own: 9 }.to_u64()
    }

    fn flow(command: FlowModCommand, table: u8, cookie: u64, mask: u64) -> Bytes {
        let mut flow = FlowMod::add(
            &morph_openflow::rule::RuleKey {
                table,
                priority: 1,
                match_: Default::default(),
            },
            &morph_openflow::rule::RuleBody {
                instructions: [].into(),
                idle_timeout: 0,
                hard_timeout: 0,
                flags: 0,
                cookie,
            },
        );
        flow.command = command;
        flow.cookie_mask = mask;
        Message::FlowMod(flow).encode(1)
    }

    #[test]
    fn flow_mods_stay_within_tables_cookies_and_epoch() {
        use FlowModCommand::{Add, Delete, DeleteStrict, Modify};
        let (own, full) = (cookie(3, 5), u64::MAX);
        let (all, mask) = Cookie::all_of(3);
        for (message, expected) in [
            (flow(Add, 20, own, 0), ""),
            (flow(Add, 28, own, 0), ""),
            (
                flow(Add, 29, own, 0),
                "table 29 is outside router's tables, 20 to 28",
            ),
            (flow(Add, 19, own, 0), "table 19"),
            (flow(Add, 0, own, 0), "table 0"),
            (flow(Add, 255, own, 0), "table 255"),
            (flow(Add, 20, cookie(2, 5), 0), "is not router's (app 3)"),
            (flow(Add, 20, 0, 0), "is not router's"),
            (flow(Add, 20, u64::MAX, 0), "is not router's"),
            (flow(Add, 20, cookie(3, 4), 0), "does not bear epoch 65541"),
            // Rules of any epoch may be deleted.
            (flow(DeleteStrict, 20, cookie(3, 4), full), ""),
            (flow(DeleteStrict, 19, cookie(3, 4), full), ""),
            (flow(DeleteStrict, 0, cookie(3, 4), full), "table 0"),
            (flow(Delete, 255, all, mask), ""),
            (
                flow(Delete, 255, all, 0xff << 56),
                "reaches beyond router's own rules",
            ),
            (flow(Delete, 20, all, 0), "reaches beyond"),
            (flow(Delete, 255, cookie(0, 0), full), "is not router's"),
            (flow(Modify, 255, all, mask), "table 255"),
            (flow(Modify, 21, all, mask), ""),
        ] {
            match check(&Apps::default(), &app(), EPOCH, &message) {
                Ok(kind) => assert_eq!((kind, expected), (CommandKind::FlowMod, "")),
                Err(error) => {
                    assert!(
                        !expected.is_empty() && error.to_string().contains(expected),
                        "{error}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_messages() {
        let mod_of = |kind: u8, id: u32| {
            let mut message = vec![4, kind, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0];
            message.extend(id.to_be_bytes());
            message
        };
        let features = |length: u8| {
            let mut message = vec![4, 18, 0, length, 0, 0, 0, 1, 0, 12, 0, 0, 0, 0, 0, 0];
            message.resize(usize::from(length), 0);
            message
        };
        for (message, result) in [
            (mod_of(15, 0x0300_0001), Ok(CommandKind::GroupMod)),
            (
                mod_of(15, 0x0400_0001),
                Err("group 0x4000001 is outside router's"),
            ),
            (mod_of(29, 3 * 1024 + 1023), Ok(CommandKind::MeterMod)),
            (
                mod_of(29, 4 * 1024),
                Err("meter 0x1000 is outside router's"),
            ),
            (mod_of(29, 1), Err("meter 0x1")),
            (vec![4, 20, 0, 8, 0, 0, 0, 1], Ok(CommandKind::ReadRequest)),
            (vec![1, 20, 0, 8, 0, 0, 0, 1], Err("wire version 1")),
            (vec![4, 24, 0, 8, 0, 0, 0, 1], Err("apps may not send it")),
            (vec![4, 9, 0, 8, 0, 0, 0, 1], Err("apps may not send it")),
            (vec![4, 14, 0, 8, 0, 0, 0, 1], Err("FLOW_MOD")),
            (features(16), Ok(CommandKind::ReadRequest)),
            (features(24), Err("table features")),
            (
                Message::MultipartRequest(MultipartRequest::Desc)
                    .encode(1)
                    .to_vec(),
                Ok(CommandKind::ReadRequest),
            ),
        ] {
            match (check(&Apps::default(), &app(), EPOCH, &message), result) {
                (Ok(kind), Ok(wanted)) => assert_eq!(kind, wanted),
                (Err(error), Err(expected)) => {
                    // Messages that are too short are reported by the codec.
                    assert!(
                        error.to_string().contains(expected) || message.len() == 8,
                        "{error}"
                    );
                }
                (found, wanted) => panic!("{message:?}: {found:?}, not {wanted:?}"),
            }
        }
        assert!(check_read_request(&features(24)).is_err());
        assert!(check_read_request(&features(16)).is_ok());
        assert!(check_read_request(&mod_of(15, 0x0300_0001)).is_err());
    }
}
