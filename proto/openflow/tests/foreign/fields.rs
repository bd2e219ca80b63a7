//! Fields of a message as names and sorted values, from our decoder and from a recording of another implementation.
//! Order is not compared, because recordings are sorted by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use morph_openflow::v13::{Hello, Message, OxmField};
use serde_json::Value;

/// Sorted values by field name.
pub(crate) type Fields = BTreeMap<String, Vec<String>>;

/// Recorded names that are no values: types and lengths, which are covered by the comparison of bytes.
const STRUCTURE: [&str; 11] = [
    "type",
    "len",
    "length",
    "actions_len",
    "match_len",
    "property",
    "subtype",
    "hasmask",
    "data",
    "note",
    "userdata",
];
/// Recorded structures that we keep as bytes.
const OPAQUE: [&str; 4] = ["NXAction", "NXFlowSpec", "ONFFlowMonitorRequest", "Packet"];

/// Recorded name of a field that has another name, or none, in our decoder.
fn recorded_name(decoded: &str) -> &str {
    match decoded {
        "Group" => "group_id",
        "SetQueue" => "queue_id",
        "SetNwTtl" => "nw_ttl",
        "SetMplsTtl" => "mpls_ttl",
        "PushVlan" | "PushMpls" | "PopMpls" | "PushPbb" => "ethertype",
        "GotoTable" | "table" => "table_id",
        "Meter" => "meter_id",
        "MinRate" | "MaxRate" => "rate",
        "NextTables" | "NextTablesMiss" => "table_ids",
        "metadata_mask" => "mask",
        same => same,
    }
}

fn put(fields: &mut Fields, name: &str, value: String) {
    fields.entry(name.to_owned()).or_default().push(value);
}

fn number(bytes: &[u8]) -> String {
    let value = bytes.iter().fold(0_u128, |n, b| n << 8 | u128::from(*b));
    value.to_string()
}

/// Decodes a byte string in debug form: `b"..."`.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            other => other,
        });
    }
    bytes
}

/// Fields of a decoded message, from its debug form: each line is a value, named there or at the start of its list.
pub(crate) fn decoded(message: &Message) -> Fields {
    let mut fields = Fields::new();
    if let Message::Hello(Hello {
        versions: Some(bits),
    }) = message
    {
        for n in (0..32).filter(|n| bits >> n & 1 == 1) {
            put(&mut fields, "versions", n.to_string());
        }
        return sorted(fields);
    }
    let text = format!("{message:#?}");
    let mut names: Vec<String> = Vec::new();
    let mut before = 0;
    for line in text.lines().map(str::trim) {
        let (name, value) = match line.split_once(": ") {
            Some((name, value)) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                (name.to_owned(), value)
            }
            _ => (names.last().cloned().unwrap_or_default(), line),
        };
        let value = value.trim_end_matches(',');
        if value.ends_with(['{', '[', '(']) {
            // `name: Some(` keeps the name; `Group(` is a name.
            let own = value.trim_end_matches(['{', '[', '(']).trim();
            let keeps_name = line.contains(": ") || own.is_empty() || own == "Some";
            names.push(if keeps_name { name } else { own.to_owned() });
        } else if line.starts_with(['}', ']', ')']) {
            names.pop();
        } else {
            if name == "field" {
                before = experimenter_prefix(value);
            }
            let skip = if name == "value" { before } else { 0 };
            add(&mut fields, recorded_name(&name), value, skip);
        }
    }
    sorted(fields)
}

/// Number of leading value bytes that recordings leave out: the experimenter id, and the type in the ONF's
/// `pbb_uca`.
fn experimenter_prefix(field: &str) -> usize {
    match field {
        "oxm_ffff_0" => 6,
        other if other.starts_with("oxm_ffff") => 4,
        _ => 0,
    }
}

/// Adds a value; skips leading bytes that recordings leave out.
fn add(fields: &mut Fields, name: &str, value: &str, skip: usize) {
    if value == "None" || value == "[]" {
        return;
    }
    let bytes = value.strip_prefix("b\"").and_then(|v| v.strip_suffix('"'));
    match (name, bytes) {
        ("table_ids", Some(bytes)) => {
            let ids = unescape(bytes);
            ids.iter().for_each(|id| put(fields, name, id.to_string()));
        }
        (_, Some(bytes)) => put(fields, name, number(&unescape(bytes)[skip..])),
        ("command", _) if value.starts_with(char::is_uppercase) => {
            let commands = ["Add", "Modify", "ModifyStrict", "Delete", "DeleteStrict"];
            let number = commands.iter().position(|name| *name == value);
            put(fields, name, number.unwrap().to_string());
        }
        _ => put(fields, name, value.trim_matches('"').to_owned()),
    }
}

fn sorted(mut fields: Fields) -> Fields {
    // Unknown fields have their number for a name, which cannot be compared.
    if let Some(names) = fields.get_mut("field") {
        names.retain(|name| is_known(name));
    }
    fields.retain(|_, values| !values.is_empty());
    fields.values_mut().for_each(|values| values.sort());
    fields
}

fn is_known(name: &str) -> bool {
    let mut known = OxmField::ALL_BASIC.iter().copied();
    let mut registers = (0..8).map(OxmField::reg);
    known.any(|field| field.to_string() == name) || registers.any(|r| r.to_string() == name)
}

/// Fields in a recording.
pub(crate) fn recorded(json: &Value) -> Fields {
    let mut fields = Fields::new();
    walk(json, "", &mut fields);
    sorted(fields)
}

fn walk(value: &Value, object: &str, fields: &mut Fields) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| walk(one, object, fields)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let is_object = name.starts_with(char::is_uppercase);
            match is_object {
                true => walk(value, name, fields),
                false => member(object, name, value, fields),
            }
        }),
        _ => (),
    }
}

fn member(object: &str, name: &str, value: &Value, fields: &mut Fields) {
    let resubmit = object.starts_with("NXActionResubmit");
    let opaque = !resubmit && OPAQUE.iter().any(|opaque| object.starts_with(opaque));
    let of_part = object.ends_with("StatsRequest") || object.ends_with("StatsReply");
    match name {
        "type" if object == "OFPOxmId" => leaf(fields, "field", value),
        _ if STRUCTURE.contains(&name) => (),
        // Flags of the multipart message itself, which the decoder has elsewhere.
        "flags" if of_part => (),
        "experimenter" if resubmit => (),
        _ if opaque && name != "experimenter" => (),
        "value" | "mask" if object == "OXMTlv" => leaf(fields, name, &canonical(value)),
        _ => leaf(fields, name, value),
    }
}

fn leaf(fields: &mut Fields, name: &str, value: &Value) {
    match value {
        Value::Number(n) => put(fields, name, n.to_string()),
        Value::String(text) => put(fields, name, text.clone()),
        Value::Array(all) if all.iter().all(Value::is_number) => {
            all.iter().for_each(|n| put(fields, name, n.to_string()));
        }
        Value::Null | Value::Bool(_) => (),
        Value::Array(_) | Value::Object(_) => walk(value, "", fields),
    }
}

/// Value of a field as the number that its bytes form.
fn canonical(value: &Value) -> Value {
    let Value::String(text) = value else {
        return value.clone();
    };
    let mac = || -> Option<Bytes> {
        let mac: morph_openflow::MacAddr = text.parse().ok()?;
        Some(Bytes::copy_from_slice(&mac.0))
    };
    let address = || -> Option<Bytes> {
        Some(match text.parse().ok()? {
            std::net::IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
            std::net::IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
        })
    };
    match mac().or_else(address) {
        Some(bytes) => Value::String(number(&bytes)),
        None => value.clone(),
    }
}
