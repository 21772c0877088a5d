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
    cargo("build", &target_dir(), package.as_ref(), targets, &[]);
    target_dir().join("debug")
}

/// Builds a plugin that is a package, into a directory of its own: beside the workspace's binary
/// a host would find it. `package` is absolute, or below the workspace.
pub(crate) fn build_plugin(package: impl AsRef<Path>) -> PathBuf {
    let target = target_dir().join("examples-out");
    cargo("build", &target, package.as_ref(), &[], &[]);
    target.join("debug")
}

/// Runs the tests of a plugin that is a package, which must pass; what they print.
pub(crate) fn test(package: &Path, environment: &[(&str, &str)]) -> String {
    cargo("test", &target_dir().join("examples-out"), package, &[], environment)
}

/// Does without the network, with the releases that the workspace has locked.
fn cargo(
    command: &str,
    target: &Path,
    package: &Path,
    targets: &[&str],
    environment: &[(&str, &str)],
) -> String {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = workspace().join(package);
    fs::copy(workspace().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(&directory)
        .args([command, "--offline", "--target-dir"])
        .arg(target)
        .args(targets)
        .args(PROFILE.iter().flat_map(|setting| ["--config", setting]))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    let package = package.display();
    assert!(output.status.success(), "cargo {command} of {package}:\n{printed}{complaint}");
    printed
}
