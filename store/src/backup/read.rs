//! Reads a backup line by line, and reports the first line that is wrong.

use std::io::{self, BufRead, Read};

use super::line::{Entry, FORMAT, Line, chained};
use crate::limits;

/// Maximum length of a line: the largest value with each byte escaped, and its names.
const LINE: u64 = 6 * limits::VALUE as u64 + (64 << 10);

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    #[error("it is not a backup of Morpheus's store")]
    Other,
    #[error(
        "it has format {0}, this version reads formats up to {FORMAT}; restore it with the version that wrote it"
    )]
    Format(u32),
    #[error("it is torn: it ends after line {0}, without its last one")]
    Torn(u64),
    #[error("line {line} is damaged: {what}; restore an earlier backup")]
    Damaged {
        /// Number of the line, from 1.
        line: u64,
        what: String,
    },
}

#[derive(Debug)]
pub(crate) struct BackupReader<R> {
    input: R,
    sum: u32,
    lines: u64,
    ended: bool,
}

impl<R: BufRead> BackupReader<R> {
    pub(crate) fn new(input: R) -> Self {
        BackupReader {
            input,
            sum: 0,
            lines: 0,
            ended: false,
        }
    }

    /// Returns the next entry, or `None` after [`Entry::End`].
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        let mut line = Vec::new();
        (&mut self.input).take(LINE).read_until(b'\n', &mut line)?;
        match (line.is_empty(), self.ended) {
            (true, true) => return Ok(None),
            (true, false) if self.lines == 0 => return Err(BackupError::Other),
            (true, false) => return Err(BackupError::Torn(self.lines)),
            (false, true) => return Err(self.damaged("it comes after the last one")),
            (false, false) => {}
        }
        if line.last() != Some(&b'\n') {
            return Err(match self.lines {
                0 => BackupError::Other,
                _ if (line.len() as u64) < LINE => BackupError::Torn(self.lines),
                _ => self.damaged("it has no end"),
            });
        }
        let parsed = self.parse(&line)?;
        self.lines += 1;
        Ok(Some(parsed))
    }

    fn parse(&mut self, line: &[u8]) -> Result<Entry, BackupError> {
        let text = str::from_utf8(line).ok();
        let parts = text.and_then(|text| text.trim_end_matches('\n').split_once(' '));
        let Some((said, json)) = parts else {
            return Err(match self.lines {
                0 => BackupError::Other,
                _ => self.damaged("it is no line of a backup"),
            });
        };
        let sum = chained(self.sum, json.as_bytes());
        if said != format!("{sum:08x}") {
            return Err(match self.lines {
                0 if !json.starts_with("{\"backup\"") => BackupError::Other,
                _ => self.damaged("its checksum is another"),
            });
        }
        self.sum = sum;
        if self.lines == 0 {
            check_format(json)?;
        }
        let line: Line = serde_json::from_str(json).map_err(|e| self.damaged(&e.to_string()))?;
        match line {
            Line::Backup { .. } if self.lines > 0 => Err(self.damaged("a second beginning")),
            Line::End { lines } if lines != self.lines => {
                let now = self.lines;
                Err(self.damaged(&format!(
                    "it says {lines} lines came before, which were {now}"
                )))
            }
            line => {
                self.ended = matches!(line, Line::End { .. });
                Ok(line.entry())
            }
        }
    }

    fn damaged(&self, what: &str) -> BackupError {
        BackupError::Damaged {
            line: self.lines + 1,
            what: what.to_owned(),
        }
    }
}

/// Checks the format before anything else, since a newer format may mean other things by the same words.
fn check_format(json: &str) -> Result<(), BackupError> {
    let first: serde_json::Value = serde_json::from_str(json).map_err(|_| BackupError::Other)?;
    let format = first.pointer("/backup/format").and_then(|f| f.as_u64());
    match format {
        None => Err(BackupError::Other),
        Some(format) if format > u64::from(FORMAT) => Err(BackupError::Format(
            u32::try_from(format).unwrap_or(u32::MAX),
        )),
        Some(_) => Ok(()),
    }
}
