#![cfg(target_arch = "x86_64")] // the file that is changed is of that machine

use std::time::{Duration, Instant};

use super::*;

/// A plugin that a linker made, as small as it gets.
const MINIMAL: &[u8] = include_bytes!("../../../fuzz/seeds/elf/minimal.so");
const SEGMENT: usize = 56;
const SECTION: usize = 64;
const SYMBOL: usize = 24;

fn number<const N: usize>(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + N].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn put<const N: usize>(bytes: &mut [u8], at: usize, number: usize) {
    bytes[at..at + N].copy_from_slice(&number.to_le_bytes()[..N]);
}

/// Moves the program headers to the end and adds room for more, all zero.
fn with_segments(count: usize) -> (Vec<u8>, usize) {
    let mut bytes = MINIMAL.to_vec();
    let (old, old_count) = (number::<8>(&bytes, 32), number::<2>(&bytes, 56));
    let start = bytes.len().next_multiple_of(8);
    bytes.resize(start + count * SEGMENT, 0);
    bytes.copy_within(old..old + old_count * SEGMENT, start);
    put::<8>(&mut bytes, 32, start);
    put::<2>(&mut bytes, 56, count);
    (bytes, start)
}

fn section_of_type(bytes: &[u8], kind: usize) -> usize {
    let start = number::<8>(bytes, 40);
    let headers = (0..number::<2>(bytes, 60)).map(|index| start + index * SECTION);
    headers.into_iter().find(|at| number::<4>(bytes, at + 4) == kind).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    inspect(bytes).unwrap_err().to_string()
}

#[test]
fn the_smallest_plugin_is_accepted_and_no_shorter_one() {
    let (manifest, notes) = inspect(MINIMAL).unwrap();
    assert_eq!((manifest.name.as_str(), notes), ("cpu", ElfNotes::default()));
    for length in 0..MINIMAL.len() {
        assert!(matches!(inspect(&MINIMAL[..length]), Err(ElfError::CutShort { .. })), "{length}");
    }
}

#[test]
fn segments_are_counted_as_the_linker_counts_them() {
    let (more, _) = with_segments(20);
    assert!(inspect(&more).is_ok());

    // To some readers offset 0 says that there are none; the linker reads them there.
    let mut at_zero = MINIMAL.to_vec();
    put::<8>(&mut at_zero, 32, 0);
    assert!(refusal(&at_zero).contains("not as many segments as it says"));

    // To some readers 0xffff says that the number stands in the first section.
    let (mut extended, _) = with_segments(0xffff);
    let first_section = number::<8>(&extended, 40);
    put::<4>(&mut extended, first_section + 44, 1);
    assert!(refusal(&extended).contains("not as many segments as it says"));
}

#[test]
fn a_file_costs_no_more_to_check_than_its_size_explains() {
    let started = Instant::now();

    // As many dynamic segments as there can be, each of them the whole file.
    let (mut bytes, start) = with_segments(0xfffe);
    let size = bytes.len();
    for at in (0..0xfffe).map(|index| start + index * SEGMENT) {
        put::<4>(&mut bytes, at, 2);
        put::<8>(&mut bytes, at + 8, 0);
        put::<8>(&mut bytes, at + 32, size / 16 * 16);
    }
    assert!(refusal(&bytes).contains("more than one dynamic segment"));

    // Symbols that all have one name, of some megabytes.
    let (count, length) = (100_000, 4 << 20);
    let mut bytes = MINIMAL.to_vec();
    let (symbols, names) = (section_of_type(&bytes, 11), section_of_type(&bytes, 3));
    let start = bytes.len().next_multiple_of(8);
    put::<8>(&mut bytes, symbols + 24, start);
    put::<8>(&mut bytes, symbols + 32, count * SYMBOL);
    put::<8>(&mut bytes, names + 24, start + count * SYMBOL);
    put::<8>(&mut bytes, names + 32, length);
    bytes.resize(start + count * SYMBOL, 0);
    bytes.resize(start + count * SYMBOL + length - 1, b'a');
    bytes.push(0);
    assert!(refusal(&bytes).contains("does not export"));

    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
