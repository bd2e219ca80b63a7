//! Values as an indented outline: one line for each field, in the order of the wire.

use std::io::{self, Write};

use morph_openflow::text::PortName;
use morph_openflow::v10::convert::port_to_v13;
use serde_json::ser::Formatter;

/// Formatter for serde_json that writes `name: value` lines instead of JSON, and `- ` before each element of a list.
#[derive(Debug, Default)]
pub(super) struct OutlineFormatter {
    depth: usize,
    /// Set while the line has only the `- ` of a list: the first field follows on this line.
    after_dash: bool,
    /// Set if the innermost list or structure has an element.
    has_elements: bool,
    /// Set while a field's name is being written.
    in_name: bool,
    /// Name of the last field, which decides how its number is written.
    name: String,
}

/// Fields that hold a port number.
const PORT_FIELDS: [&str; 5] = ["port", "port_no", "in_port", "out_port", "watch_port"];

impl OutlineFormatter {
    fn new_line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        write!(out, "\n{:1$}", "", self.depth * 2)
    }

    fn begin(&mut self) {
        self.depth += 1;
        self.has_elements = false;
    }

    fn end<W: ?Sized + Write>(&mut self, out: &mut W, empty: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        match std::mem::replace(&mut self.has_elements, true) {
            true => Ok(()),
            false => {
                self.after_dash = false;
                out.write_all(empty)
            }
        }
    }
}

impl Formatter for OutlineFormatter {
    fn write_u16<W: ?Sized + Write>(&mut self, out: &mut W, number: u16) -> io::Result<()> {
        match PORT_FIELDS.contains(&&*self.name) {
            true => write!(out, "{}", PortName(port_to_v13(number))),
            false => write!(out, "{number}"),
        }
    }

    fn write_u32<W: ?Sized + Write>(&mut self, out: &mut W, number: u32) -> io::Result<()> {
        match (&*self.name, number) {
            (name, number) if PORT_FIELDS.contains(&name) => write!(out, "{}", PortName(number)),
            ("buffer_id", u32::MAX) => out.write_all(b"none"),
            ("out_group", u32::MAX) => out.write_all(b"ANY"),
            (_, number) => write!(out, "{number}"),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if self.in_name {
            self.name.push_str(text);
        }
        out.write_all(text.as_bytes())
    }

    fn write_null<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b"-")
    }

    fn begin_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn end_string<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.begin();
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"none")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, _: bool) -> io::Result<()> {
        self.new_line(out)?;
        self.after_dash = true;
        out.write_all(b"- ")
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.after_dash = false;
        self.has_elements = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.begin();
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"nothing")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, _: bool) -> io::Result<()> {
        self.in_name = true;
        self.name.clear();
        match std::mem::take(&mut self.after_dash) {
            true => Ok(()),
            false => self.new_line(out),
        }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.in_name = false;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_elements = true;
        Ok(())
    }
}

/// Formats a value; each of its lines begins with a line break.
pub(super) fn text(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    let mut out = Vec::new();
    let mut serializer =
        serde_json::Serializer::with_formatter(&mut out, OutlineFormatter::default());
    value.serialize(&mut serializer)?;
    // A name before a list or a structure has nothing after its colon.
    let text = String::from_utf8_lossy(&out).replace(": \n", ":\n");
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reserved_ports_are_shown_by_name() {
        #[derive(serde::Serialize)]
        struct Ports {
            in_port: u16,
            out_port: u32,
            port: u32,
            buffer_id: u32,
            weight: u32,
        }
        let value = Ports {
            in_port: 0xfffd,
            out_port: u32::MAX,
            port: 3,
            buffer_id: u32::MAX,
            weight: u32::MAX,
        };
        let expected = "\n  in_port: CONTROLLER\n  out_port: ANY\n  port: 3\n  buffer_id: none\n  weight: 4294967295";
        assert_eq!(text(&value).unwrap(), expected);
    }

    #[test]
    fn fields_lists_and_empty_values_are_shown() {
        let value = json!({
            "a": 1,
            "b": [{"c": "x\ny", "d": [1, 2]}, "e", []],
            "f": {"g": null},
            "h": {},
        });
        let expected = "\n  a: 1\n  b:\n    - c: x\\ny\n      d:\n        - 1\n        - 2\n    - e\n    - none\n  f:\n    g: -\n  h: nothing";
        assert_eq!(text(&value).unwrap(), expected);
    }
}
