//! The things that are measured: they are built by the same cargo, with the release profile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `target/release`: this program lies in its `deps`.
fn profile() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().unwrap().parent().unwrap().to_owned()
}

/// Brings the agent, its bundled plugins and the benchmark's own plugins up to date.
fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        cargo(&[]);
        cargo(&["--package", "dropsonde", "--examples"]);
    });
}

fn cargo(what: &[&str]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--release", "--quiet", "--target-dir"])
        .arg(profile().parent().unwrap())
        .args(what)
        .status()
        .unwrap();
    assert!(status.success(), "cargo build failed");
}

/// The `dropsonde` program.
pub(crate) fn binary() -> PathBuf {
    build();
    profile().join("dropsonde")
}

/// The bundled plugins.
pub(crate) fn plugins() -> Vec<PathBuf> {
    build();
    let files = std::fs::read_dir(profile()).unwrap().flatten().map(|entry| entry.path());
    let bundled = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libdropsonde_") && name.ends_with(".so")
    };
    files.filter(bundled).collect()
}

/// A bundled plugin, by name.
pub(crate) fn plugin(name: &str) -> PathBuf {
    build();
    profile().join(format!("libdropsonde_{name}.so"))
}

/// One of the benchmark's own plugins.
pub(crate) fn fixture(name: &str) -> PathBuf {
    build();
    profile().join("examples").join(format!("lib{name}.so"))
}
