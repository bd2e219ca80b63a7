//! Annotated frames in `vectors`, in one folder for each version.
//!
//! A line of a vector holds bytes in hexadecimal, or `BYTE x N` for N equal bytes, and a comment after `#`.

#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Folder of the vectors of a version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folder(pub(crate) &'static str);

pub(crate) const OF10: Folder = Folder("of10");
pub(crate) const OF13: Folder = Folder("of13");

impl Folder {
    pub(crate) fn path(self) -> PathBuf {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
        vectors.join(self.0)
    }

    /// Names of all frames, sorted.
    pub(crate) fn names(self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                Some(name.strip_suffix(".hex")?.to_owned())
            })
            .collect();
        names.sort();
        names
    }

    pub(crate) fn load(self, name: &str) -> Bytes {
        let path = self.path().join(format!("{name}.hex"));
        parse(&std::fs::read_to_string(path).unwrap()).into()
    }

    /// Errors: type and code in wire form, and their names as displayed.
    pub(crate) fn errors(self) -> Vec<(Vec<u8>, String)> {
        let text = std::fs::read_to_string(self.path().join("errors.list")).unwrap();
        let line = |line: &str| {
            let (bytes, names) = line.split_once("  ").unwrap();
            (parse(bytes), names.to_owned())
        };
        text.lines().map(line).collect()
    }
}

pub(crate) fn parse(text: &str) -> Vec<u8> {
    let byte = |word: &str| u8::from_str_radix(word, 16).unwrap();
    let mut bytes = Vec::new();
    for line in text.lines() {
        let words = line.split('#').next().unwrap();
        let words: Vec<&str> = words.split_whitespace().collect();
        match words[..] {
            [value, "x", count] => {
                let count: usize = count.parse().unwrap();
                bytes.resize(bytes.len() + count, byte(value));
            }
            _ => bytes.extend(words.into_iter().map(byte)),
        }
    }
    bytes
}
