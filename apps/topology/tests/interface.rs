//! The tables that topology offers, as its README documents them.

#![allow(clippy::unwrap_used)]

use morph_sdk::App;
use topology::Topology;

const BEGIN: &str = "<!-- tables: generated -->\n";
const END: &str = "<!-- end -->\n";

fn generated() -> String {
    let mut text = "| table | key | value as JSON |\n|---|---|---|\n".to_owned();
    for table in Topology::tables() {
        let (name, key, shape) = (table.name, table.key, table.shape);
        text += &format!("| `{name}` | `{key}` | `{shape}` |\n");
    }
    text
}

#[test]
fn the_readme_documents_the_tables_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (documented, tail) = rest.split_once(END).unwrap();
    let generated = generated();
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, [head, BEGIN, &generated, END, tail].concat()).unwrap();
    } else {
        assert_eq!(documented, generated);
    }
}
