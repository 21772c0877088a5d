//! Files for a collector to read.

use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of the test's own that stands in for `/proc`, `/sys` or whatever a plugin reads. It
/// is removed when this is dropped. Give the collector its path by a setting; the bundled plugins
/// call theirs `proc_root` and `sys_root`.
///
/// ```
/// use dropsonde_plugin_api::testing::Fixture;
///
/// let proc = Fixture::new().file("net/dev", "Inter-|   Receive\n").file("uptime", "12.5 40.0\n");
/// assert_eq!(std::fs::read_to_string(proc.root().join("uptime")).unwrap(), "12.5 40.0\n");
/// proc.write("uptime", "13.5 42.0\n"); // what the next round reads
/// ```
///
/// All functions panic where the file system refuses: the test can't go on.
#[derive(Debug)]
pub struct Fixture(Scratch);

impl Fixture {
    /// An empty directory.
    #[allow(clippy::new_without_default)] // it makes a directory
    pub fn new() -> Self {
        let scratch = Scratch::new("fixture");
        std::fs::create_dir(&scratch.0)
            .unwrap_or_else(|error| refused("can't be made", &scratch.0, &error));
        Self(scratch)
    }

    /// The same with one file more; directories on the way to it are made.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Self {
        self.write(path, contents);
        self
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.0.0
    }

    /// Writes a file, or writes it anew, in place.
    pub fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) {
        let path = self.below(path.as_ref());
        let parent = path.parent().unwrap_or(&path);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, contents))
            .unwrap_or_else(|error| refused("can't be written", &path, &error));
    }

    /// Removes a file, or a directory with all that is in it: a process that ended, say.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = self.below(path.as_ref());
        let removed = match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        };
        removed.unwrap_or_else(|error| refused("can't be removed", &path, &error));
    }

    /// A path within the directory: `/etc/passwd` and `../x` are not.
    fn below(&self, path: &Path) -> PathBuf {
        let within = path.components().all(|part| matches!(part, Component::Normal(_)));
        assert!(within, "{} is not a path below the fixture's root", path.display());
        self.root().join(path)
    }
}

#[allow(clippy::panic)] // a test that can't have its files has failed
fn refused(what: &str, path: &Path, error: &std::io::Error) -> ! {
    panic!("{} {what}: {error}", path.display())
}

/// A path in the temporary directory that nothing else of this process uses; what was put there
/// is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new(kind: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("dropsonde-{kind}-{}-{next}", std::process::id());
            let path = std::env::temp_dir().join(name);
            // It may be there still of a process that was killed, and whose id came round again.
            if !path.exists() {
                return Self(path);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // not made, or not ours to remove
    }
}
