//! Packages that don't belong to the workspace, built by their own manifest as a third party
//! would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use dropsonde_tests::{target_dir, workspace};

/// How the workspace builds what it depends on (its `Cargo.toml`), so that what lies in its
/// target directory serves here too, and only the package itself and the path dependencies are
/// compiled. Their artefacts have names of their own: nothing of the workspace is overwritten.
const PROFILE: [&str; 2] =
    ["profile.dev.debug=\"line-tables-only\"", "profile.dev.package.sha2.opt-level=3"];

/// Builds a program, or a plugin that is an example of its package. `targets` are arguments of
/// cargo. Returns where the artefacts lie.
pub(crate) fn build(package: &str, targets: &[&str]) -> PathBuf {
    build_into(&target_dir(), package, targets)
}

/// Builds a plugin that is a package, into a directory of its own: beside the workspace's binary
/// a host would find it.
pub(crate) fn build_plugin(package: &str) -> PathBuf {
    build_into(&target_dir().join("examples-out"), package, &[])
}

/// Does without the network, with the releases that the workspace has locked.
fn build_into(target: &Path, package: &str, targets: &[&str]) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = workspace().join(package);
    fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(&directory)
        .args(["build", "--quiet", "--offline", "--target-dir"])
        .arg(target)
        .args(targets)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{package} can't be built:\n{text}");
    target.join("debug")
}
