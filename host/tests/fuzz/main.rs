//! The fuzz targets on the stable toolchain: a bounded number of seeded mutations of the seeds,
//! and every input that once failed. `host/fuzz` runs the same targets under libFuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

mod corpus;
mod memory;
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use dropsonde::fuzz;
use mutate::Mutator;

const SEED: u64 = 20_261_121;
/// Far above what any input of these sizes takes, on a slow machine too.
const LONGEST: Duration = Duration::from_secs(10);

/// One of the doors, and what it may cost.
struct Target {
    name: &'static str,
    /// Tells whether the input was accepted; panics if a property does not hold.
    run: fn(&[u8]) -> bool,
    /// Heap that a byte of input may take.
    per_byte: usize,
}

/// Heap that any input may take: messages, the page of an idle host.
const HEAP: usize = 128 << 10;

const ELF: Target = Target { name: "elf", run: fuzz::elf, per_byte: 0 };
const MANIFEST: Target = Target { name: "manifest", run: fuzz::manifest, per_byte: 10 };
const BATCH: Target = Target { name: "batch", run: fuzz::batch, per_byte: 1000 };
/// An empty string is one byte in a frame, and 24 in memory.
const PROTOCOL: Target = Target { name: "protocol", run: fuzz::protocol, per_byte: 100 };
/// Each table is a node of a tree, of about a kilobyte in the parser.
const TOML: Target = Target { name: "toml", run: fuzz::toml, per_byte: 1000 };

#[test]
fn the_elf_check_accepts_only_what_lies_inside_the_file() {
    let accepted = ELF.hold(&corpus::seeds("elf"), 50_000);
    assert!(accepted > 0 || !cfg!(target_arch = "x86_64"), "the seed is of that machine");
}

#[test]
fn the_elf_check_holds_on_damage_to_a_real_plugin() {
    match corpus::built_plugin() {
        Some(plugin) => assert!(ELF.hold(&[plugin], 200) > 0),
        None => println!("left out: `cargo test` without a selection of targets builds the plugin"),
    }
}

#[test]
fn a_manifest_that_is_read_is_within_the_rules() {
    assert!(MANIFEST.hold(&corpus::seeds("manifest"), 50_000) > 0);
}

#[test]
fn a_batch_that_was_checked_can_be_handed_to_every_sink() {
    assert!(BATCH.hold(&corpus::seeds("batch"), 10_000) > 0);
}

#[test]
fn messages_survive_any_cut_and_claim_no_memory() {
    assert!(PROTOCOL.hold(&corpus::seeds("protocol"), 50_000) > 0);
}

#[test]
fn a_configuration_is_accepted_whole_or_refused_at_its_place() {
    assert!(TOML.hold(&corpus::seeds("toml"), 10_000) > 0);
}

impl Target {
    /// Runs it on what once failed, on the seeds, and on so many mutations of them. Gives the
    /// number of inputs that were accepted.
    fn hold(&self, seeds: &[Vec<u8>], cases: usize) -> usize {
        let started = Instant::now();
        let mut accepted = 0;
        for (path, input) in corpus::regressions(self.name) {
            accepted += usize::from(self.attempt(&input, &|| path.display().to_string()));
        }
        for input in seeds {
            accepted += usize::from(self.attempt(input, &|| "a seed".to_owned()));
        }
        let mut mutator = Mutator::new(SEED, seeds);
        for case in 0..cases {
            let input = mutator.next();
            let label = || format!("case {case} of seed {SEED}, kept as {}", self.keep(&input));
            accepted += usize::from(self.attempt(&input, &label));
        }
        let took = started.elapsed();
        println!("{}: {cases} cases, {accepted} accepted, {took:.1?}", self.name);
        accepted
    }

    /// One input: the target's own properties, its time and its memory.
    fn attempt(&self, input: &[u8], label: &dyn Fn() -> String) -> bool {
        let started = Instant::now();
        let run = || catch_unwind(AssertUnwindSafe(|| (self.run)(input)));
        let (outcome, heap) = memory::peak(run);
        let took = started.elapsed();
        let most = HEAP + self.per_byte * input.len();
        let name = self.name;
        match outcome {
            Ok(accepted) if took < LONGEST && heap <= most => accepted,
            Ok(_) => panic!("{name}: {}: {took:.1?}, {heap} bytes, allowed {most}", label()),
            Err(_) => panic!("{name}: {}: a property does not hold, see above", label()),
        }
    }

    /// Writes an input down, so that it can be added to the regressions.
    fn keep(&self, input: &[u8]) -> String {
        let name = self.name;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        match std::fs::write(&path, input) {
            Ok(()) => format!("{}; it belongs into host/fuzz/regressions/{name}", path.display()),
            Err(error) => format!("nothing: {error}; the input is {input:02x?}"),
        }
    }
}
