//! Findings of checks.

use serde::ser::SerializeMap;

use crate::failure::with_fix;
use crate::print::{Cells, Object};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Nothing to fix.
    Ok,
    /// A switch attaches all the same.
    Warning,
    /// A switch does not attach.
    Trouble,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Trouble => "trouble",
        }
    }
}

/// Result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Subject of the check, such as a port or a bridge.
    pub(crate) check: String,
    pub(crate) severity: Severity,
    pub(crate) text: String,
    /// Action that fixes the problem; empty if there is none.
    pub(crate) fix: String,
}

impl Finding {
    pub(crate) fn ok(check: impl Into<String>, text: impl Into<String>) -> Self {
        Finding {
            check: check.into(),
            severity: Severity::Ok,
            text: text.into(),
            fix: String::new(),
        }
    }

    pub(crate) fn problem(
        check: impl Into<String>,
        severity: Severity,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Finding {
            check: check.into(),
            severity,
            text: text.into(),
            fix: fix.into(),
        }
    }
}

impl Cells for Finding {
    const HEADER: &'static [&'static str] = &["CHECK", "STATE", "FOUND"];
    fn cells(&self) -> Vec<String> {
        let text = match self.fix.as_str() {
            "" => self.text.clone(),
            fix => with_fix(&self.text, fix),
        };
        vec![self.check.clone(), self.severity.name().to_owned(), text]
    }
}

/// JSON keys are older than the names here, and scripts read them.
impl Object for Finding {
    fn fields<M: SerializeMap>(&self, object: &mut M) -> Result<(), M::Error> {
        object.serialize_entry("check", &self.check)?;
        object.serialize_entry("state", self.severity.name())?;
        object.serialize_entry("found", &self.text)?;
        object.serialize_entry("mend", &self.fix)
    }
}
