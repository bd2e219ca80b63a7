//! Runs the targets of `fuzz` without libFuzzer, on random mutations of the vectors. Each target runs briefly from
//! a fixed seed; `FUZZ_SECONDS` sets the total time and takes a random seed, which is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod hex;
mod recorded;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use morph_openflow::lldp::Probe;
use morph_openflow::{Dpid, MacAddr};
use targets::TARGETS;

/// Deterministic random numbers from a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn byte(&mut self) -> u8 {
        const LIKELY: [u8; 12] = [0, 1, 2, 4, 7, 8, 9, 16, 0x7f, 0x80, 0xfe, 0xff];
        match self.below(2) {
            0 => LIKELY[self.below(LIKELY.len())],
            _ => self.next() as u8,
        }
    }
}

/// Applies one mutation: changes a byte, a bit or a 16-bit length, truncates, inserts a piece of another input, or
/// repeats a piece.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    let end = at + random.below(input.len() - at + 1);
    match random.below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 | 2 if !input.is_empty() => input[at] = random.byte(),
        3 if input.len() > at + 1 => {
            let length = (random.below(80) as u16).to_be_bytes();
            input[at..at + 2].copy_from_slice(&length);
        }
        4 => input.truncate(at),
        5 => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let piece = &other[from..from + random.below(other.len() - from)];
            input.splice(at..end, piece.iter().copied());
        }
        6 if input.len() < 4096 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        _ => input.extend((0..random.below(9)).map(|_| random.byte())),
    }
}

/// Corrects the length in the header, most of the time, so that decoding gets beyond the header.
fn fix_length(input: &mut [u8], random: &mut Random) {
    let length = input.len() as u16;
    if random.below(8) != 0
        && let Some(field) = input.get_mut(2..4)
    {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Frames of our vectors and of other implementations.
fn frames(folder: hex::Folder) -> Vec<Vec<u8>> {
    let names = folder.names().into_iter();
    let ours = names.map(|name| folder.load(&name).to_vec());
    let others = recorded::files(folder.0).unwrap_or_default();
    let others = others.iter().map(|path| std::fs::read(path).unwrap());
    ours.chain(others).collect()
}

/// Seed inputs of a target: whole frames, or the parts that the target decodes.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let part = |name: &str, from: usize| hex::OF13.load(name)[from..].to_vec();
    match target {
        "framer" => [frames(hex::OF10), frames(hex::OF13)].concat(),
        "v10" => frames(hex::OF10),
        "v13" => frames(hex::OF13),
        "match" => vec![part("oxm", 52), part("flow_mod", 52)[..28].to_vec()],
        "action" => vec![part("actions", 24)],
        "lldp" => vec![
            Probe {
                dpid: Dpid(0xa1),
                port: 7,
                sent_ms: 0x0102,
                tag: Some([7; 16]),
            }
            .frame(MacAddr([2; 6]))
            .to_vec(),
        ],
        other => panic!("no corpus of {other}"),
    }
}

/// Inputs that once caused a failure: `fuzz/found/TARGET/*`, as written by libFuzzer.
fn findings(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/found");
    let Ok(entries) = std::fs::read_dir(folder.join(target)) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn each_fuzz_target_has_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = names
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut tested: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    tested.sort_unstable();
    assert_eq!(names, tested);
    // `fuzz/run` takes the seeds as files: FUZZ_CORPUS/TARGET/NUMBER.
    for name in tested {
        let seeds = corpus(name);
        assert!(!seeds.is_empty(), "{name}");
        let Some(to) = std::env::var_os("FUZZ_CORPUS") else {
            continue;
        };
        let to = Path::new(&to).join(name);
        std::fs::create_dir_all(&to).unwrap();
        for (number, seed) in seeds.iter().enumerate() {
            std::fs::write(to.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}

#[test]
fn inputs_found_by_fuzzing_stay_fixed() {
    for (name, target) in TARGETS {
        for path in findings(name) {
            let input = std::fs::read(&path).unwrap();
            let passed = std::panic::catch_unwind(|| target(&input));
            assert!(passed.is_ok(), "{name}: {}", path.display());
        }
    }
}

#[test]
fn any_input_is_decoded_or_refused() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.map(|s| s.parse::<u64>().unwrap());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = seconds.map_or(1, |_| clock.as_nanos() as u64 | 1);
    let each = Duration::from_millis(seconds.map_or(200, |s| s * 1000 / TARGETS.len() as u64));
    for (name, target) in TARGETS {
        let runs = fuzz(name, target, Random(seed), each);
        if seconds.is_some() {
            let line = format!("{name}: {runs} inputs from seed {seed}, nothing found");
            recorded::say(&line);
        }
    }
}

/// Runs a target for `time`; returns the number of inputs.
fn fuzz(name: &str, target: fn(&[u8]), mut random: Random, time: Duration) -> u64 {
    let corpus = corpus(name);
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < time {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..random.below(6) {
            mutate(&mut input, &corpus, &mut random);
        }
        if name == "v10" || name == "v13" {
            fix_length(&mut input, &mut random);
        }
        let passed = std::panic::catch_unwind(|| target(&input));
        assert!(passed.is_ok(), "{name}: {input:02x?}");
        runs += 1;
    }
    runs
}
