//! The annotated frames in `vectors`.
//!
//! A line of a vector is bytes in hexadecimal, `BYTE x N` for N times the same, and a comment after `#`.

use std::path::{Path, PathBuf};

use bytes::Bytes;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors")
}

/// The names of all frames, sorted.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix(".hex")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

pub(crate) fn load(name: &str) -> Bytes {
    let path = folder().join(format!("{name}.hex"));
    parse(&std::fs::read_to_string(path).unwrap()).into()
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
