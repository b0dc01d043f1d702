//! Tests the properties that `make fuzz` checks with libFuzzer. The inputs are the corpus and random mutations of it.

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public where it is a crate")]
mod properties;

use std::fs;
use std::path::Path;

use fastrand::Rng;

/// The number of mutations for each target.
const MUTATIONS: usize = 3_000;

/// Texts that have a meaning in one of the formats.
const MEANINGFUL: [&[u8]; 18] = [
    b",",
    b"\"",
    b"\n",
    b"\r\n",
    b"\r",
    b"\"\"",
    b";",
    b"\\u00e9",
    b"\\",
    b"{",
    b"}",
    b":",
    b"[1,",
    b"null",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\x01",
];

#[test]
fn whatever_the_bytes_the_properties_hold() {
    let seed = fastrand::u64(..);
    for (name, holds) in properties::TARGETS {
        let seeds = corpus(name);
        let mut random = Rng::with_seed(seed);
        // The test harness shows this line if the test fails.
        println!("{name}: seed {seed}");
        seeds.iter().for_each(|bytes| holds(bytes));
        for _ in 0..MUTATIONS {
            let bytes = mutated(&seeds, &mut random);
            println!("{}", bytes.escape_ascii());
            holds(&bytes);
        }
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no seeds", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Returns one of the inputs in `seeds` with random changes: bytes are changed, removed, added, or taken from another
/// input.
fn mutated(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut bytes = random.choice(seeds).unwrap().clone();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=bytes.len());
        let to = bytes.len().min(at + random.usize(..6));
        match random.u8(..5) {
            0 => drop(bytes.drain(at..to)),
            1 => bytes[at..to].fill_with(|| random.u8(..)),
            2 => drop(bytes.splice(at..at, random.choice(MEANINGFUL).unwrap().iter().copied())),
            3 => {
                let other = random.choice(seeds).unwrap();
                let from = random.usize(..=other.len());
                let until = other.len().min(from + random.usize(..40));
                drop(bytes.splice(at..to, other[from..until].iter().copied()));
            }
            _ => bytes.extend_from_within(at..to),
        }
    }
    bytes
}
