//! Packages that don't belong to the workspace, built by their own manifest as a third party
//! would.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use dropsonde_tests::{target_dir, workspace};

/// How the workspace builds what it depends on (its `Cargo.toml`), so that what lies in its
/// target directory serves here too, and only the package itself and the path dependencies are
/// compiled. Their artefacts have names of their own: nothing of the workspace is overwritten.
const PROFILE: [&str; 2] =
    ["profile.dev.debug=\"line-tables-only\"", "profile.dev.package.sha2.opt-level=3"];

/// Builds all targets of a package, without the network: with the releases that the workspace
/// has locked. Returns where its artefacts lie.
pub(crate) fn build(package: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = workspace().join(package);
    fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(&directory)
        .args(["build", "--quiet", "--offline", "--all-targets", "--target-dir"])
        .arg(target_dir())
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package} can't be built:\n{text}");
    target_dir().join("debug")
}
