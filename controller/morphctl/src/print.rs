//! Output: tables for people and grep, or JSON for programs.

mod escape;
mod json;
pub(crate) mod rows;
pub(crate) mod status;
mod table;
mod time;

use std::io::{self, Write};

use morph_api::management::LogLine;

use crate::command::Format;
use crate::failure::Failure;
pub(crate) use escape::printable;
use json::List;
pub(crate) use json::Object;
pub(crate) use table::{Cells, place};
pub(crate) use time::utc;

/// JSON key of statuses of upgrades.
pub(crate) const UPGRADES: &str = "upgrades";

/// Standard output in the chosen format.
pub(crate) struct Output {
    format: Format,
    /// Set once the reader has gone (`morphctl flows 1 | head`): nothing more is written, and that is not a failure.
    closed: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Output {
            format,
            closed: false,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Prints a whole answer: a table with its header, or one object.
    pub(crate) fn list<T: Cells + Object>(&mut self, key: &str, rows: &[T]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&table::render(rows)),
            Format::Json => self.write_json(&List::whole(key, rows)),
        }
    }

    /// Prints rows up to a limit. The object says whether there are more, and a warning on standard error does so too.
    pub(crate) fn page<T: Cells + Object>(
        &mut self,
        key: &str,
        rows: &[T],
        more: bool,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&table::render(rows))?,
            Format::Json => self.write_json(&List::page(key, rows, more))?,
        }
        if more {
            let hint =
                "there are more rows: name a table or the beginning of the key, or raise --limit";
            // If stderr is closed, there is nobody to tell.
            let _ = writeln!(io::stderr(), "morphctl: {hint}");
        }
        Ok(())
    }

    /// Prints one message of a stream: a line of text, or an object with a list of one.
    pub(crate) fn item<T: Object>(
        &mut self,
        key: &str,
        item: &T,
        line: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(&format!("{line}\n")),
            Format::Json => self.write_json(&List::whole(key, std::slice::from_ref(item))),
        }
    }

    /// Prints log lines, without a header.
    pub(crate) fn lines(&mut self, key: &str, lines: &[LogLine]) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let texts = lines.iter().map(|line| printable(&line.line));
                self.write(&texts.map(|text| format!("{text}\n")).collect::<String>())
            }
            Format::Json => self.write_json(&List::whole(key, lines)),
        }
    }

    /// Prints text that is for people only: nothing in JSON.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.write(text),
            Format::Json => Ok(()),
        }
    }

    fn write_json(&mut self, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::Unknown(format!("cannot print morphd's answer as JSON: {error}"))
        })?;
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
                return Err(Failure::Unknown(format!(
                    "morphd answered, but the answer cannot be written to standard output: {error}"
                )));
            }
            Ok(()) => {}
        }
        Ok(())
    }
}
