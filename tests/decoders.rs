//! Every decoder on its corpus, and on what is near to it: the seeds cut short and damaged, the same ones each time.
//!
//! `fuzz/run` goes on from the same seeds by coverage, for as long as it is let.

use std::fs;
use std::path::Path;

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, dead_code, reason = "a crate of its own where it is fuzzed")]
mod fuzz;

/// Seeds of each decoder that are damaged, and how often.
const DAMAGED: usize = 40;
const TIMES: u64 = 50;

/// Runs a decoder on its corpus; a decoder that panics says which input it was.
fn holds(name: &str, decoder: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("a corpus").map(|it| it.expect("a seed").path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).expect("a seed")).collect();
    assert!(seeds.len() >= 3, "{} has hardly a seed", folder.display());
    for (path, seed) in paths.iter().zip(&seeds) {
        tried(&path.display().to_string(), decoder, seed);
    }
    for (path, seed) in paths.iter().zip(&seeds).take(DAMAGED) {
        for time in 0..TIMES {
            tried(&format!("{}, damaged {time}", path.display()), decoder, &damaged(seed, &seeds, time));
        }
    }
}

fn tried(what: &str, decoder: fn(&[u8]), bytes: &[u8]) {
    let done = std::panic::catch_unwind(|| decoder(bytes));
    assert!(done.is_ok(), "{what}: {:?}", String::from_utf8_lossy(bytes));
}

/// A seed cut, with bytes turned, or joined with a part of another one; the same each time.
fn damaged(seed: &[u8], others: &[Vec<u8>], time: u64) -> Vec<u8> {
    let mut dice = blake3::Hasher::new();
    dice.update(seed).update(&time.to_le_bytes());
    let mut dice = dice.finalize_xof();
    let mut draw = |most: usize| {
        let mut bytes = [0; 8];
        dice.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % (most as u64 + 1)).expect("small")
    };
    let mut bytes = seed.to_vec();
    match time % 3 {
        0 => bytes.truncate(draw(seed.len())),
        1 => {
            for _ in 0..=draw(3) {
                let at = draw(bytes.len().saturating_sub(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << draw(7);
                }
            }
        }
        _ => {
            let other = &others[draw(others.len() - 1)];
            bytes.truncate(draw(seed.len()));
            bytes.extend(&other[draw(other.len())..]);
        }
    }
    bytes
}

#[test]
fn records_of_any_bytes() {
    holds("records", fuzz::records);
}

#[test]
fn files_of_any_packing() {
    holds("files", fuzz::files);
}

#[test]
fn mappings() {
    holds("mapping", fuzz::mapping);
}

#[test]
fn rules() {
    holds("rules", fuzz::rules);
}

#[test]
fn plans() {
    holds("plans", fuzz::plans);
}

#[test]
fn context_tables() {
    holds("context", fuzz::context);
}

#[test]
fn inputs_of_the_log() {
    holds("log", fuzz::log);
}

#[test]
fn pages_of_a_ledgers_topic() {
    holds("ledger", fuzz::ledger);
}

#[test]
fn words_of_topics() {
    holds("words", fuzz::words);
}

#[test]
fn what_comes_over_a_link() {
    holds("wire", fuzz::wire);
}

#[test]
fn snapshots() {
    holds("snapshot", fuzz::snapshot);
}
