//! The check of batches, rates, JSON, the Prometheus page. What is asserted stands in `host/src/fuzz/batch.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dropsonde::fuzz::batch(bytes);
});
