//! Router 2.0.0 with a misbehaving migration: the end-to-end tests upgrade to it to see that nothing else is harmed.
//! The version names the defect, as in `2.0.0-up-panics`.

use std::process::ExitCode;
use std::sync::OnceLock;

use morph_sdk::{Migration, MigrationError, Rows};
use router::{Router, V1ToV2, V2};

/// Direction of the defect (`up` or `down`) and its kind: `panics`, `loops`, or `eats` memory.
static DEFECT: OnceLock<(String, String)> = OnceLock::new();

struct Defective;

impl Migration for Defective {
    const OLD: u32 = 1;
    const NEW: u32 = 2;

    fn group_of_old(table: &str, key: &str) -> String {
        V1ToV2::group_of_old(table, key)
    }

    fn group_of_new(table: &str, key: &str) -> String {
        V1ToV2::group_of_new(table, key)
    }

    fn up(old: &Rows) -> Result<Rows, MigrationError> {
        misbehave("up");
        V1ToV2::up(old)
    }

    fn down(new: &Rows) -> Result<Rows, MigrationError> {
        misbehave("down");
        V1ToV2::down(new)
    }
}

#[expect(clippy::panic, reason = "it is what it is for")]
fn misbehave(direction: &str) {
    let Some((_, how)) = DEFECT.get().filter(|(defect, _)| defect == direction) else {
        return;
    };
    let mut eaten = Vec::new();
    match how.as_str() {
        "panics" => panic!("a defect in {direction}"),
        "loops" => loop {
            std::hint::spin_loop();
        },
        "eats" => loop {
            eaten.push(vec![1u8; 1 << 20]);
        },
        _ => {}
    }
}

/// Defect that the version in the manifest names; the manifest's path follows `--manifest`.
fn defect() -> Option<(String, String)> {
    let path = std::env::args()
        .skip_while(|arg| arg != "--manifest")
        .nth(1)?;
    let text = std::fs::read_to_string(path).ok()?;
    let version = text.lines().find(|line| line.starts_with("version"))?;
    let (_, defect) = version.trim_end_matches('"').split_once('-')?;
    let (direction, how) = defect.split_once('-')?;
    Some((direction.to_owned(), how.to_owned()))
}

fn main() -> ExitCode {
    if let Some(defect) = defect() {
        let _ = DEFECT.set(defect);
    }
    morph_sdk::run_with_migration::<_, Defective>(Router::<V2>::new)
}
