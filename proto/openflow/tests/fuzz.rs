//! The targets of `fuzz` without libFuzzer: inputs made from the vectors, changed at random. A short run in each test;
//! `FUZZ_SECONDS` makes it as long as that, from another seed each time, which is printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod hex;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use targets::TARGETS;

/// A small generator: what it gives depends on its seed alone (xorshift64*).
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

/// One change: a byte, a bit, a 16-bit length, a cut, a piece of another input, or a repetition.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
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

/// Mostly the header's length is right, so that more than it is looked at.
fn mend(input: &mut [u8], random: &mut Random) {
    let length = input.len() as u16;
    if random.below(8) != 0
        && let Some(field) = input.get_mut(2..4)
    {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Frames, and for the targets of parts what is in them.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let frame = |name: &String| hex::load(name).to_vec();
    let all: Vec<Vec<u8>> = hex::names().iter().map(frame).collect();
    match target {
        "match" => vec![
            hex::load("oxm")[52..].to_vec(),
            hex::load("flow_mod")[52..80].to_vec(),
        ],
        "action" => vec![hex::load("actions")[24..].to_vec()],
        _ => all,
    }
}

#[test]
fn any_input_is_read_or_refused() {
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.map(|s| s.parse::<u64>().unwrap());
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = seconds.map_or(1, |_| clock.as_nanos() as u64 | 1);
    let each = Duration::from_millis(seconds.map_or(300, |s| s * 1000 / TARGETS.len() as u64));
    for (name, target) in TARGETS {
        let (corpus, mut random) = (corpus(name), Random(seed));
        let (start, mut runs) = (Instant::now(), 0_u64);
        while start.elapsed() < each {
            let mut input = corpus[random.below(corpus.len())].clone();
            for _ in 0..random.below(6) {
                change(&mut input, &corpus, &mut random);
            }
            if name == "v13" {
                mend(&mut input, &mut random);
            }
            let held = std::panic::catch_unwind(|| target(&input));
            assert!(held.is_ok(), "{name}: {input:02x?}");
            runs += 1;
        }
        if seconds.is_some() {
            let line = format!("{name}: {runs} inputs from seed {seed}, nothing found");
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}
