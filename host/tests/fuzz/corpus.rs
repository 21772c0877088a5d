//! The inputs that are kept in `host/fuzz`.

use std::fs;
use std::path::{Path, PathBuf};

/// Good and nearly good inputs of a target, to be mutated.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seeds: Vec<Vec<u8>> = files("seeds", target).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(!seeds.is_empty(), "no seeds of {target}");
    seeds
}

/// Inputs that once failed.
pub(crate) fn regressions(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    files("regressions", target)
}

fn files(folder: &str, target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort(); // the order of a directory differs from machine to machine
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// A plugin as the compiler makes it, with some megabytes of debug information. Cargo builds the
/// examples with the tests unless it is told which targets to build.
pub(crate) fn built_plugin() -> Option<Vec<u8>> {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    fs::read(profile.join("examples").join("libbench_still.so")).ok()
}
