//! Where the things under test lie. They are built by the same cargo, once a test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `target/debug`, or wherever this test was built to.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap(); // target/debug/deps/e2e-…
    test.parent().unwrap().parent().unwrap().to_owned()
}

pub fn target_dir() -> PathBuf {
    profile_dir().parent().unwrap().to_owned()
}

/// Brings the binary and the bundled plugins up to date: a test build alone does not make
/// cdylibs.
fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let release = profile_dir().ends_with("release");
        let status = Command::new(env!("CARGO"))
            .current_dir(workspace())
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(target_dir())
            .args(release.then_some("--release"))
            .status()
            .unwrap();
        assert!(status.success(), "cargo build failed");
    });
}

/// The `dropsonde` binary.
pub fn binary() -> PathBuf {
    build();
    profile_dir().join("dropsonde")
}

/// The bundled plugins, by name.
pub const BUNDLED: [&str; 9] = [
    "cpu",
    "memory",
    "network",
    "disk",
    "memory_bandwidth",
    "perf_events",
    "process",
    "hardware",
    "pressure",
];

/// The bundled plugins that run once they were told what to bridge.
pub const BRIDGES: [&str; 3] = ["exec", "textfile", "scrape"];

/// A bundled plugin, by name.
pub fn plugin(name: &str) -> PathBuf {
    build();
    profile_dir().join(format!("libdropsonde_{name}.so"))
}

/// A fixture plugin, by the name of its source file. `cargo test` builds them.
pub fn fixture(name: &str) -> PathBuf {
    let path = profile_dir().join("examples").join(format!("lib{name}.so"));
    let source = workspace().join("tests/fixtures").join(format!("{name}.rs"));
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let is_new = changed(&path) >= changed(&source);
    assert!(is_new, "{} is missing or old: run `cargo test --workspace`", path.display());
    path
}
