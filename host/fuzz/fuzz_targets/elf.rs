//! The ELF pre-check of a plugin file. What is asserted stands in `host/src/fuzz/elf.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dropsonde::fuzz::elf(bytes);
});
