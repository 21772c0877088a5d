//! The ELF pre-check.

use dropsonde_plugin_api::abi::API_VERSION;

use super::assert_one_line;
use super::manifest::assert_rules;
use crate::admission::inspect;

/// Of what the check accepts, all that the linker maps or reads by the headers lies in the file.
pub fn elf(bytes: &[u8]) -> bool {
    match inspect(bytes) {
        Ok((manifest, _)) => {
            assert_rules(&manifest);
            assert_eq!(manifest.api_version.0, API_VERSION.0);
            assert!(!manifest.panic_abort);
            assert_inside(bytes);
            true
        }
        Err(error) => {
            assert_one_line(&error.to_string());
            false
        }
    }
}

/// Reads the headers a second time, without the library that the check uses (elf(5)).
fn assert_inside(bytes: &[u8]) {
    assert_eq!(&bytes[..5], b"\x7fELF\x02", "ELF, 64 bit");
    assert_eq!(number::<2>(bytes, 16), 3, "ET_DYN");
    let mut dynamic = 0;
    for header in table(bytes, 32, 54, 56) {
        assert_range(bytes, number::<8>(header, 8), number::<8>(header, 32), "segment");
        dynamic += usize::from(number::<4>(header, 0) == PT_DYNAMIC);
    }
    assert!(dynamic <= 1, "{dynamic} dynamic segments");
    for header in table(bytes, 40, 58, 60) {
        if number::<4>(header, 4) != SHT_NOBITS {
            assert_range(bytes, number::<8>(header, 24), number::<8>(header, 32), "section");
        }
    }
}

const PT_DYNAMIC: u64 = 2;
const SHT_NOBITS: u64 = 8;

/// The entries of a table of headers; the numbers say where its offset, the size of an entry and
/// the count stand.
fn table(bytes: &[u8], offset: usize, size: usize, count: usize) -> impl Iterator<Item = &[u8]> {
    let start = number::<8>(bytes, offset);
    let size = number::<2>(bytes, size);
    let length = size * number::<2>(bytes, count);
    assert!(length > 0, "an empty table");
    assert_range(bytes, start, length, "table");
    bytes[start as usize..(start + length) as usize].chunks(size as usize)
}

fn assert_range(bytes: &[u8], start: u64, length: u64, what: &str) {
    let end = start.checked_add(length);
    let size = bytes.len() as u64;
    assert!(end.is_some_and(|end| end <= size), "{what} {start}+{length} in {size} bytes");
}

/// A number of `N` bytes, of this machine's order: others are refused.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut whole = [0; 8];
    let start = if cfg!(target_endian = "little") { 0 } else { 8 - N };
    whole[start..start + N].copy_from_slice(&bytes[at..at + N]);
    u64::from_ne_bytes(whole)
}
