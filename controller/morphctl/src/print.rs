//! How answers are printed: as tables for people and grep, or as JSON for programs.

mod json;
pub(crate) mod rows;
pub(crate) mod status;
mod table;
mod time;

use std::borrow::Cow;
use std::io::{self, Write};

use morph_api::management::LogLine;

use crate::args::Format;
use crate::failure::Failure;
use json::List;
pub(crate) use json::Object;
pub(crate) use table::Cells;
pub(crate) use time::utc;

/// Standard output, in the form that was asked for.
pub(crate) struct Output {
    format: Format,
    /// The reader went away (`morphctl flows 1 | head`): nothing more is written, and that is no failure.
    closed: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Output {
            format,
            closed: false,
        }
    }

    /// Whether the reader went away.
    pub(crate) fn nobody_reads(&self) -> bool {
        self.closed
    }

    /// A whole answer: a table with its header, or one object.
    pub(crate) fn list<T: Cells + Object>(
        &mut self,
        noun: &str,
        rows: &[T],
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&table::render(rows)),
            Format::Json => self.json(&List::of(noun, rows)),
        }
    }

    /// An answer that was cut at a limit, or not. The object says so, and so does standard error.
    pub(crate) fn part<T: Cells + Object>(
        &mut self,
        noun: &str,
        rows: &[T],
        more: bool,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&table::render(rows))?,
            Format::Json => self.json(&List::part(noun, rows, more))?,
        }
        if more {
            let said = "there is more: name a table or the beginning of the key, or raise --limit";
            let _ = writeln!(io::stderr(), "morphctl: {said}");
        }
        Ok(())
    }

    /// One of a stream: a line of text, or an object with a list of one.
    pub(crate) fn item<T: Object>(
        &mut self,
        noun: &str,
        item: &T,
        line: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&format!("{line}\n")),
            Format::Json => self.json(&List::of(noun, std::slice::from_ref(item))),
        }
    }

    /// Log lines have no header.
    pub(crate) fn lines(&mut self, noun: &str, lines: &[LogLine]) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let text: String = lines
                    .iter()
                    .map(|line| format!("{}\n", plain(&line.line)))
                    .collect();
                self.write(&text)
            }
            Format::Json => self.json(&List::of(noun, lines)),
        }
    }

    /// Words for people only.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(text),
            Format::Json => Ok(()),
        }
    }

    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::Unknown(format!("cannot write the answer: {error}")))?;
        self.write(&format!("{text}\n"))
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => {
                let said = format!("morphd answered, but the answer cannot be written: {error}");
                return Err(Failure::Unknown(said));
            }
            Ok(()) => {}
        }
        Ok(())
    }
}

/// Text from outside, fit for one line of a terminal: control characters are escaped.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let odd = |c: char| c.is_control() && c != '\t';
    if !text.contains(odd) {
        return text.into();
    }
    text.chars()
        .map(|c| match c {
            c if odd(c) => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect::<String>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\tb"), "a\tb");
        assert_eq!(plain("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
    }
}
