//! `morphctl decode`: OpenFlow messages as bytes, printed. Asks nobody.

mod dump;
mod person;

use std::io::{self, BufWriter, IsTerminal, Read, Write};

use bytes::Bytes;
use morph_openflow::frame::{self, First};
use morph_openflow::{AnyMessage, DecodeError, Header, decode, type_name};
use serde::Serialize;

use crate::args::Format;
use crate::failure::Failure;

/// The highest version that there is: 1.5. Beyond it nothing can be said of what follows.
const NEWEST: u8 = 6;

/// A message, where it is, or why it cannot be read.
#[derive(Debug, Serialize)]
struct Decoded {
    /// Of its first byte, from the start of all.
    offset: usize,
    version: u8,
    r#type: String,
    length: u16,
    xid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<AnyMessage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Wrong>,
}

/// What is wrong: which field, where in its message, and why.
#[derive(Debug, Serialize)]
struct Wrong {
    field: &'static str,
    offset: usize,
    problem: String,
}

impl From<DecodeError> for Wrong {
    fn from(error: DecodeError) -> Self {
        Wrong {
            field: error.what,
            offset: error.offset,
            problem: error.problem.to_string(),
        }
    }
}

/// Prints the messages that a person or a program gave.
pub(crate) fn run(words: &[String], format: Format) -> Result<(), Failure> {
    let bytes = Bytes::from(dump::bytes(read(words)?).map_err(Failure::Refused)?);
    if bytes.is_empty() {
        return Err(Failure::Refused("there are no bytes".to_owned()));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let (read, written) = match format {
        Format::Table => print(&bytes, |message| person(message, &mut out)),
        Format::Json => {
            let mut separator = "{\"messages\":[";
            let (read, written) = print(&bytes, |message| {
                out.write_all(std::mem::replace(&mut separator, ",").as_bytes())?;
                Ok(serde_json::to_writer(&mut out, message)?)
            });
            let begun = if separator == "," { "" } else { separator };
            (read, written.and_then(|()| writeln!(out, "{begun}]}}")))
        }
    };
    match written.and_then(|()| out.flush()) {
        // The reader went away, which is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Refused(format!("cannot write: {error}"))),
        Ok(()) => read.map_err(Failure::Refused),
    }
}

/// One message for a person: a line for the header, then a line a field.
pub(crate) fn text(message: &Bytes) -> String {
    let mut out = Vec::new();
    let (read, _) = print(message, |message| person(message, &mut out));
    let text = String::from_utf8_lossy(&out).into_owned();
    match read {
        Ok(()) => text,
        Err(why) if text.is_empty() => format!("{why}\n"),
        Err(_) => text,
    }
}

/// One message for a program; null where it cannot be read.
pub(crate) fn value(message: &Bytes) -> serde_json::Value {
    let mut value = serde_json::Value::Null;
    let _ = print(message, |message| {
        value = serde_json::to_value(message)?;
        Ok(())
    });
    value
}

/// What the words name: digits, a file, or standard input.
fn read(words: &[String]) -> Result<Vec<u8>, Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    let word = words.join(" ");
    if dump::is_hex(&word) {
        return Ok(word.into_bytes());
    }
    let (name, input) = match (words, io::stdin()) {
        ([], stdin) if stdin.is_terminal() => {
            return usage(
                "name a message (hexadecimal digits), a file, or - for standard input".into(),
            );
        }
        ([], stdin) => ("standard input", limited(stdin)),
        ([dash], stdin) if dash == "-" => ("standard input", limited(stdin)),
        ([file], _) => (&**file, std::fs::File::open(file).and_then(limited)),
        _ => {
            return usage(format!(
                "{word:?} is not hexadecimal, and a file is one word"
            ));
        }
    };
    match input {
        Ok(input) if input.len() > dump::MOST => {
            let most = dump::MOST >> 20;
            Err(Failure::Refused(format!("{name}: more than {most} MiB")))
        }
        Ok(input) => Ok(input),
        Err(error) => usage(format!(
            "{name:?} is neither hexadecimal nor a file that can be read: {error}"
        )),
    }
}

/// A byte more than the most shows that it is too much.
fn limited(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(dump::MOST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives all messages to `each`, until they end or nothing can be said of what follows. The first: why not all could be read.
fn print(
    bytes: &Bytes,
    mut each: impl FnMut(&Decoded) -> io::Result<()>,
) -> (Result<(), String>, io::Result<()>) {
    let (mut offset, mut count, mut wrong) = (0, 0_usize, None);
    while offset < bytes.len() {
        count += 1;
        let said =
            |why: &dyn std::fmt::Display| format!("message {count}, at byte {offset}: {why}");
        let First { header, frame, .. } = match cut(&bytes[offset..]) {
            Ok(first) => first,
            Err(why) => {
                let stopped = said(&format_args!("{why}; what follows is not looked at"));
                let before = wrong.map_or(String::new(), |wrong| format!("{wrong}; "));
                return (Err(before + &stopped), Ok(()));
            }
        };
        let frame = bytes.slice_ref(frame);
        let decoded = decoded(offset, header, &frame);
        if let Some(error) = &decoded.error {
            let at = format!(
                "{}, byte {} of it: {}",
                error.field, error.offset, error.problem
            );
            wrong.get_or_insert_with(|| said(&at));
        }
        if let Err(error) = each(&decoded) {
            return (Ok(()), Err(error));
        }
        offset += frame.len();
    }
    (wrong.map_or(Ok(()), Err), Ok(()))
}

/// The first message, whole.
fn cut(bytes: &[u8]) -> Result<First<'_>, String> {
    match bytes.first() {
        Some(version @ 1..=NEWEST) => version,
        Some(other) => return Err(format!("version {other} is none of OpenFlow's")),
        None => return Err("nothing is left".to_owned()),
    };
    match frame::first(bytes) {
        Ok(Some(first)) => Ok(first),
        Ok(None) => {
            let length = bytes.get(2..4).map(|n| u16::from_be_bytes([n[0], n[1]]));
            let needed = length.map_or(Header::LEN, |n| usize::from(n).max(Header::LEN));
            Err(format!(
                "it is cut short: {} of {needed} bytes are there",
                bytes.len()
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn decoded(offset: usize, header: Header, frame: &Bytes) -> Decoded {
    let name = type_name(&header);
    let (message, error) = match decode(frame) {
        Ok((_, message)) => (Some(message), None),
        Err(error) => (None, Some(error.into())),
    };
    Decoded {
        offset,
        version: header.version,
        r#type: name.map_or_else(|| format!("TYPE_{}", header.kind.0), str::to_owned),
        length: header.length,
        xid: header.xid,
        message,
        error,
    }
}

/// A line for the header, then a line a field.
fn person(decoded: &Decoded, out: &mut impl Write) -> io::Result<()> {
    let Decoded {
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
        write!(out, "{}", person::text(message)?)?;
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
