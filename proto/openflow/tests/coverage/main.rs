//! The table in `README.md`, generated from the decoded vectors and compared with the file.
//!
//! `UPDATE_README=1 cargo test -p morph-openflow --test coverage` writes it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

#[path = "../hex/mod.rs"]
mod hex;
mod of10;
mod of13;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use morph_openflow::v13::error;

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->\n";

/// Kinds of rows, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Message,
    /// Multipart type; called statistics in OpenFlow 1.0.
    Multipart,
    Instruction,
    Action,
    /// Match field, in OpenFlow 1.0 one of a fixed set.
    Oxm,
    Error,
}

impl Kind {
    const ALL: [Kind; 6] = [
        Kind::Message,
        Kind::Multipart,
        Kind::Instruction,
        Kind::Action,
        Kind::Oxm,
        Kind::Error,
    ];
}

/// Name, type of the decoded value, and vectors that contain it.
type Row = (String, String, BTreeSet<String>);

/// Rows of a version in table order: by kind, then by number on the wire.
#[derive(Default)]
struct Rows(BTreeMap<(Kind, u32), Row>);

impl Rows {
    fn seen(&mut self, kind: Kind, number: u32, name: &str, value: &str, vector: &str) {
        let row = self.0.entry((kind, number));
        let row = row.or_insert_with(|| (name.to_owned(), value.to_owned(), BTreeSet::new()));
        assert_eq!((&*row.0, &*row.1), (name, value), "two of one number");
        row.2.insert(vector.to_owned());
    }

    /// Number of rows of each kind.
    fn counts(&self) -> [usize; 6] {
        Kind::ALL.map(|kind| self.0.keys().filter(|(k, _)| *k == kind).count())
    }

    /// Formats the rows of a version; `words` gives the version's names of the kinds.
    fn lines(self, version: &str, words: fn(Kind) -> &'static str) -> String {
        let mut text = String::new();
        for ((kind, _), (name, value, vectors)) in self.0 {
            let shown: Vec<&str> = vectors.iter().take(2).map(String::as_str).collect();
            let cells = [words(kind), &name, &value, &shown.join(", ")];
            assert!(!cells.contains(&""), "an empty cell: {cells:?}");
            let [kind, name, value, vectors] = cells;
            let line =
                format!("| {version} | {kind} | {name} | `{value}` | same bytes | {vectors} |");
            writeln!(text, "{line}").unwrap();
        }
        text
    }
}

/// Name of an enum variant, taken from its debug form.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

/// Adds rows of errors. All named codes must be listed in `errors.list`, with their bytes and names. `read` decodes
/// the bytes after the header into type, code and displayed form.
fn errors(
    rows: &mut Rows,
    folder: hex::Folder,
    all: &error::Names,
    read: fn(&[u8]) -> (u16, u16, String),
) {
    let mut listed = BTreeSet::new();
    for (body, names) in folder.errors() {
        let (kind, code, shown) = read(&body);
        assert_eq!(shown, names);
        assert!(listed.insert((kind, code)), "{names} twice");
    }
    let all = all.iter().filter(|(_, _, codes)| !codes.is_empty());
    for (kind, name, codes) in all {
        for (code, _) in *codes {
            assert!(listed.remove(&(*kind, *code)), "{name} {code}");
        }
        let codes: Vec<&str> = codes.iter().map(|(_, name)| *name).collect();
        let name = format!("{name}: {}", codes.join(", "));
        let number = u32::from(*kind);
        rows.seen(Kind::Error, number, &name, "ErrorMsg", "errors.list");
    }
    assert!(listed.is_empty(), "of no type: {listed:?}");
}

/// Prints the number of vectors past the capture of test output, so that it is visible.
fn say_counts() {
    for (version, folder) in [("1.0", hex::OF10), ("1.3", hex::OF13)] {
        let (frames, errors) = (folder.names().len(), folder.errors().len());
        let line = format!("{version}: {frames} vectors and {errors} errors checked\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn table() -> String {
    let head = "| version | what | name | decode | encode | vector |\n|---|---|---|---|---|---|\n";
    [head, &of10::lines(), &of13::lines()].concat()
}

#[test]
fn the_readme_table_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let table = table();
    say_counts();
    if std::env::var_os("UPDATE_README").is_some() {
        let readme = format!("{before}{BEGIN}{table}{END}{after}");
        std::fs::write(&path, readme).unwrap();
    } else if there != table {
        let pairs = there.lines().zip(table.lines());
        let other = pairs.into_iter().find(|(a, b)| a != b);
        panic!(
            "README.md is not up to date; UPDATE_README=1 writes it. First difference: {other:?}"
        );
    }
}
