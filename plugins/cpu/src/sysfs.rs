//! Attributes of `/sys` that hold one number.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// An attribute that stays open between rounds. It needs one system call a round and no
/// buffer, where a `KeptFile` takes two and a page: there may be hundreds, one for each core.
#[derive(Debug)]
pub(crate) struct Attribute {
    file: File,
}

impl Attribute {
    /// `None` if the attribute does not exist or can't be read now.
    pub(crate) fn open(path: impl AsRef<Path>) -> Option<Self> {
        let attribute = Self { file: File::open(path).ok()? };
        attribute.read().ok().map(|_| attribute)
    }

    /// Fails when the device is gone or has no value.
    pub(crate) fn read(&self) -> io::Result<i64> {
        let mut buffer = [0; 32];
        let length = self.file.read_at(&mut buffer, 0)?;
        let text = std::str::from_utf8(&buffer[..length]).map_err(io::Error::other)?;
        text.trim_ascii().parse().map_err(io::Error::other)
    }
}

/// The entries of a directory that begin with `prefix`, by name; none if there is no directory.
pub(crate) fn entries(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The text of an attribute without its line end; empty if it can't be read.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_ascii().to_owned()
}
