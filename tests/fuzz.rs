//! The targets of `fuzz/`, without libFuzzer: each replays its corpus, then takes for a
//! moment what is made of it at random.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

/// How long each target takes random cases.
const MOMENT: Duration = Duration::from_millis(700);

fn check(name: &str, case: &[u8]) {
    let held = catch_unwind(|| targets::run(name, case));
    assert!(held.is_ok(), "{name} fails on {case:?}");
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let files = fs::read_dir(corpora.join(name)).unwrap();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn corpora() {
    for (name, _) in targets::TARGETS {
        let cases = corpus(name);
        assert!(!cases.is_empty(), "{name}");
        cases.iter().for_each(|case| check(name, case));
    }
}

/// Each failure shows the case, so that it can join the corpus.
#[test]
fn what_is_near_the_corpora() {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    for (name, _) in targets::TARGETS {
        let cases = corpus(name);
        let end = Instant::now() + MOMENT;
        while Instant::now() < end {
            let mut below = |n: usize| random.next_u32() as usize % n.max(1);
            let mut case = cases[below(cases.len())].clone();
            for _ in 0..=below(8) {
                let at = below(case.len() + 1);
                let removed = below(5).min(case.len() - at);
                let other = &cases[below(cases.len())];
                let from = below(other.len());
                let length = below(20).min(other.len() - from);
                let mut bytes = other[from..from + length].to_vec();
                bytes.extend((0..below(3)).map(|_| below(256) as u8));
                case.splice(at..at + removed, bytes);
            }
            check(name, &case);
        }
    }
}
