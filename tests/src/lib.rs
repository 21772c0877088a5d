//! Drives the real binary: starts it with a plugin directory and a configuration of its own,
//! asks it over HTTP, and waits on conditions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test
#![allow(missing_docs)]

mod agent;
mod browser;
mod build;
mod files;
mod follow;
mod footprint;
mod python;
mod web_socket;

pub use agent::{Agent, Options, Remains, is_running};
pub use browser::Browser;
pub use build::{BRIDGES, BUNDLED, binary, fixture, plugin, target_dir, workspace};
pub use files::{corrupt, replace_bytes};
pub use follow::Follow;
pub use footprint::{Footprint, thread_names};
pub use python::Python;
pub use web_socket::Socket;

use std::time::{Duration, Instant};

/// Longest that a condition is waited for: far above what it takes, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How much of a long test is done: `short` where nobody asks for more, `full` where
/// `DROPSONDE_SOAK` is set.
pub fn soak<T>(short: T, full: T) -> T {
    if std::env::var_os("DROPSONDE_SOAK").is_some() { full } else { short }
}

/// Waits until `probe` gives something; fails with `what` if it never does.
#[track_caller]
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
