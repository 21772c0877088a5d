//! Frames between host and runner. What is asserted stands in `host/src/fuzz/protocol.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dropsonde::fuzz::protocol(bytes);
});
