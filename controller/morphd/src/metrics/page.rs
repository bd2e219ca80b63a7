//! Text format of Prometheus (exposition format 0.0.4).

use std::fmt::{Display, Write};

/// Page under construction.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Begins a family of metrics, whose samples follow. `kind` is counter, gauge or histogram.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// Adds a sample to the family that was begun last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

fn escaped(value: &str) -> String {
    let one = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        '"' => "\\\"".to_owned(),
        '\n' => "\\n".to_owned(),
        c => c.to_string(),
    };
    value.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_a_sample_is_a_line() {
        let mut page = Page::default();
        page.family("a_total", "counter", "Help.");
        page.sample("a_total", &[], 7);
        page.sample("a_total", &[("x", "a\"b\\c\nd"), ("y", "")], 0.5);
        let wanted = "# HELP a_total Help.\n# TYPE a_total counter\na_total 7\n\
                      a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.5\n";
        assert_eq!(page.text(), wanted);
    }
}
