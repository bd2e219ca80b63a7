//! The table in `README.md`: made from what the vectors decode to, and compared with what stands there.
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

/// What a table of a version has rows of, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Message,
    /// Statistics, in 1.0's words.
    Multipart,
    Instruction,
    Action,
    /// A field of a match, in 1.0.
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

/// What it is called, what it decodes to, and in which vectors it is.
type Row = (String, String, BTreeSet<String>);

/// Those of a version, in the order of the table: by kind, and by the number on the wire.
#[derive(Default)]
struct Rows(BTreeMap<(Kind, u32), Row>);

impl Rows {
    fn seen(&mut self, kind: Kind, number: u32, name: &str, value: &str, vector: &str) {
        let row = self.0.entry((kind, number));
        let row = row.or_insert_with(|| (name.to_owned(), value.to_owned(), BTreeSet::new()));
        assert_eq!((&*row.0, &*row.1), (name, value), "two of one number");
        row.2.insert(vector.to_owned());
    }

    /// How many there are of each kind.
    fn counts(&self) -> [usize; 6] {
        Kind::ALL.map(|kind| self.0.keys().filter(|(k, _)| *k == kind).count())
    }

    /// The lines of a version; `words` are what it calls the kinds.
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

/// A variant's name.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let end = text.find(|c: char| !c.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}

/// The rows of errors: all codes of a type that have a name are listed, with their bytes and names, in `errors.list`.
/// `read` reads what follows the header: type and code, as on the wire, and how they are shown.
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

/// Says how many there are past the capture of tests' output, so that it is seen.
fn say_counts() {
    for (version, folder) in [("1.0", hex::OF10), ("1.3", hex::OF13)] {
        let (frames, errors) = (folder.names().len(), folder.errors().len());
        let line = format!("{version}: {frames} vectors of ours checked, and {errors} errors\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn table() -> String {
    let head = "| version | what | name | decode | encode | vector |\n|---|---|---|---|---|---|\n";
    [head, &of10::lines(), &of13::lines()].concat()
}

#[test]
fn the_readme_lists_all_and_lacks_nothing() {
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
        panic!("README.md is not up to date (UPDATE_README=1 makes it): {other:?}");
    }
}
