//! `morphctl decode`: prints OpenFlow messages that are given as bytes. Needs no morphd.

mod dump;
mod outline;

use std::io::{self, BufWriter, IsTerminal, Read, Write};

use bytes::Bytes;
use morph_openflow::frame::{self, FirstFrame};
use morph_openflow::{AnyMessage, DecodeError, Header, decode, type_name};
use serde::Serialize;

use crate::command::Format;
use crate::failure::Failure;

/// Highest version number of OpenFlow, that of 1.5. A higher first byte means that the input is not OpenFlow.
const MAX_VERSION: u8 = 6;

/// Message of the input, decoded or with the error that prevents it.
#[derive(Debug, Serialize)]
struct DecodedMessage {
    /// Position of the first byte in the input.
    offset: usize,
    version: u8,
    r#type: String,
    length: u16,
    xid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<AnyMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FieldError>,
}

/// Error of a field; the offset counts from the beginning of its message.
#[derive(Debug, Serialize)]
struct FieldError {
    field: &'static str,
    offset: usize,
    problem: String,
}

impl From<DecodeError> for FieldError {
    fn from(error: DecodeError) -> Self {
        FieldError {
            field: error.what,
            offset: error.offset,
            problem: error.problem.to_string(),
        }
    }
}

/// Prints the messages that the words of the command line give or name.
pub(crate) fn run(words: &[String], format: Format) -> Result<(), Failure> {
    let bytes = Bytes::from(dump::bytes(read(words)?).map_err(Failure::Refused)?);
    if bytes.is_empty() {
        return Err(Failure::Refused(
            "the input is empty: give at least one message".to_owned(),
        ));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let (decoded, written) = match format {
        Format::Table => for_each(&bytes, |message| write_text(message, &mut out)),
        Format::Json => {
            let mut separator = "{\"messages\":[";
            let (decoded, written) = for_each(&bytes, |message| {
                out.write_all(std::mem::replace(&mut separator, ",").as_bytes())?;
                Ok(serde_json::to_writer(&mut out, message)?)
            });
            let opening = if separator == "," { "" } else { separator };
            (
                decoded,
                written.and_then(|()| writeln!(out, "{opening}]}}")),
            )
        }
    };
    match written.and_then(|()| out.flush()) {
        // The reader has gone, which is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Refused(format!(
            "cannot write to standard output: {error}"
        ))),
        Ok(()) => decoded.map_err(Failure::Refused),
    }
}

/// Formats one message as text, or the reason why it cannot be decoded.
pub(crate) fn text(message: &Bytes) -> String {
    let mut out = Vec::new();
    let (decoded, _) = for_each(message, |message| write_text(message, &mut out));
    let text = String::from_utf8_lossy(&out).into_owned();
    match decoded {
        Ok(()) => text,
        Err(reason) if text.is_empty() => format!("{reason}\n"),
        Err(_) => text,
    }
}

/// Converts one message to JSON; null if it cannot be read.
pub(crate) fn value(message: &Bytes) -> serde_json::Value {
    let mut value = serde_json::Value::Null;
    let _ = for_each(message, |message| {
        value = serde_json::to_value(message)?;
        Ok(())
    });
    value
}

/// Reads the input that the words name: digits, a file, or standard input.
fn read(words: &[String]) -> Result<Vec<u8>, Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    let word = words.join(" ");
    if dump::is_hex(&word) {
        return Ok(word.into_bytes());
    }
    let (name, input) = match (words, io::stdin()) {
        ([], stdin) if stdin.is_terminal() => {
            return usage(
                "nothing to decode: give hexadecimal digits, a file, or - for standard input"
                    .into(),
            );
        }
        ([], stdin) => ("standard input", limited(stdin)),
        ([dash], stdin) if dash == "-" => ("standard input", limited(stdin)),
        ([file], _) => (&**file, std::fs::File::open(file).and_then(limited)),
        _ => {
            return usage(format!(
                "{word:?} is not hexadecimal; to read a file, name it in one word"
            ));
        }
    };
    match input {
        Ok(input) if input.len() > dump::MAX_BYTES => {
            let limit = dump::MAX_BYTES >> 20;
            Err(Failure::Refused(format!(
                "{name} has more than {limit} MiB, which is the limit: split it"
            )))
        }
        Ok(input) => Ok(input),
        Err(error) => usage(format!(
            "{name:?} is neither hexadecimal nor a readable file: {error}"
        )),
    }
}

/// Reads one byte more than the limit, which shows that the input is too large.
fn limited(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input
        .take(dump::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Passes all messages to `each`, until the input ends or is not OpenFlow. Returns whether all could be decoded, and whether
/// `each` succeeded.
fn for_each(
    bytes: &Bytes,
    mut each: impl FnMut(&DecodedMessage) -> io::Result<()>,
) -> (Result<(), String>, io::Result<()>) {
    let (mut offset, mut count, mut first_error) = (0, 0_usize, None);
    while offset < bytes.len() {
        count += 1;
        let describe =
            |reason: &dyn std::fmt::Display| format!("message {count}, at byte {offset}: {reason}");
        let FirstFrame { header, frame, .. } = match first_message(&bytes[offset..]) {
            Ok(first) => first,
            Err(reason) => {
                let end = describe(&format_args!("{reason}; the rest of the input is ignored"));
                let before = first_error.map_or(String::new(), |error| format!("{error}; "));
                return (Err(before + &end), Ok(()));
            }
        };
        let frame = bytes.slice_ref(frame);
        let message = decode_frame(offset, header, &frame);
        if let Some(error) = &message.error {
            let at = format!(
                "{}, byte {} of the message: {}",
                error.field, error.offset, error.problem
            );
            first_error.get_or_insert_with(|| describe(&at));
        }
        if let Err(error) = each(&message) {
            return (Ok(()), Err(error));
        }
        offset += frame.len();
    }
    (first_error.map_or(Ok(()), Err), Ok(()))
}

/// Cuts off the first message.
fn first_message(bytes: &[u8]) -> Result<FirstFrame<'_>, String> {
    match bytes.first() {
        Some(version @ 1..=MAX_VERSION) => version,
        Some(other) => return Err(format!("version {other} is not a version of OpenFlow")),
        None => return Err("the input has ended".to_owned()),
    };
    match frame::first(bytes) {
        Ok(Some(first)) => Ok(first),
        Ok(None) => {
            let length = bytes.get(2..4).map(|n| u16::from_be_bytes([n[0], n[1]]));
            let needed = length.map_or(Header::LEN, |n| usize::from(n).max(Header::LEN));
            Err(format!(
                "it is cut off after {} of {needed} bytes",
                bytes.len()
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn decode_frame(offset: usize, header: Header, frame: &Bytes) -> DecodedMessage {
    let name = type_name(&header);
    let (message, error) = match decode(frame) {
        Ok((_, message)) => (Some(message), None),
        Err(error) => (None, Some(error.into())),
    };
    DecodedMessage {
        offset,
        version: header.version,
        r#type: name.map_or_else(|| format!("TYPE_{}", header.kind.0), str::to_owned),
        length: header.length,
        xid: header.xid,
        message,
        error,
    }
}

/// Writes a line for the header, then a line for each field.
fn write_text(decoded: &DecodedMessage, out: &mut impl Write) -> io::Result<()> {
    let DecodedMessage {
        offset,
        version,
        r#type,
        length,
        xid,
        ..
    } = decoded;
    let version = match version {
        1 => "1.0".to_owned(),
        other => format!("1.{}", other - 1),
    };
    write!(
        out,
        "{type} OpenFlow {version}, xid {xid:#x}, {length} bytes at {offset}"
    )?;
    if let Some(message) = &decoded.message {
        write!(out, "{}", outline::text(message)?)?;
    }
    if let Some(error) = &decoded.error {
        write!(
            out,
            "\n  error: {} at byte {}: {}",
            error.field, error.offset, error.problem
        )?;
    }
    writeln!(out)
}
