//! The manifest reader. What is asserted stands in `host/src/fuzz/manifest.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dropsonde::fuzz::manifest(bytes);
});
