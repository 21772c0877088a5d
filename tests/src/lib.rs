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
mod usual;
mod web_socket;

pub use agent::{Agent, Options, Remains, is_running};
pub use browser::Browser;
pub use build::{BRIDGES, BUNDLED, binary, fixture, plugin, target_dir, workspace};
pub use files::{corrupt, replace_bytes};
pub use follow::Follow;
pub use footprint::{Footprint, thread_names};
pub use python::Python;
pub use web_socket::Socket;

use std::fmt::Display;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// Longest that a condition is waited for: far above what it takes, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// How much of a long test is done: `short` where nobody asks for more, `full` where
/// `DROPSONDE_SOAK` is set.
pub fn soak<T>(short: T, full: T) -> T {
    if std::env::var_os("DROPSONDE_SOAK").is_some() { full } else { short }
}

/// Says that a test is not done here, and why: past the capture of its output, so that a person
/// sees it.
pub fn skipped(why: impl Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Whether a program is there; says that a test is skipped if it is not.
pub fn is_installed(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skipped(format!("{program} is not installed"));
    }
    is_there
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
