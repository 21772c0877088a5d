//! The configuration. What is asserted stands in `host/src/fuzz/toml.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dropsonde::fuzz::toml(bytes);
});
