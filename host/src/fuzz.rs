//! Doors for the fuzz targets and the bounded property tests to what the crate keeps to itself.
//! Each takes any bytes, asserts what must hold of them, and says whether they were accepted. No
//! behaviour of its own.

mod batch;
mod elf;
mod feed;
mod manifest;
mod otlp;
pub(crate) mod page;
mod protocol;
mod rates;
mod toml;

pub use batch::batch;
pub use elf::elf;
pub use manifest::manifest;
pub use protocol::protocol;
pub use toml::toml;

/// Why something was refused stands in a log and in a table: one line, of bounded length.
fn assert_one_line(text: &str) {
    assert!(!text.is_empty() && text.len() < 1000, "a message of {} bytes", text.len());
    assert!(!text.contains(char::is_control), "control characters in {text:?}");
}
