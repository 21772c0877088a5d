//! What lies in the plugin directories.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Tells whether a file may have changed: device, inode, size, change time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print(u64, u64, u64, i64, i64);

/// The plugin files that were found, by path.
pub(crate) type Scanned = BTreeMap<PathBuf, Print>;

/// Lists the `.so` files of the directories, not below them. A name that begins with a dot is
/// left out: copying tools use such for files that are not complete. A directory that can't be
/// read has no files, and is named in the second result.
pub(crate) fn scan(
    directories: &[PathBuf],
    busy: &HashSet<PathBuf>,
) -> (Scanned, Vec<(PathBuf, String)>) {
    let mut found = Scanned::new();
    let mut unreadable = Vec::new();
    for directory in directories {
        match fs::read_dir(directory) {
            Ok(entries) => {
                let paths = entries.flatten().map(|entry| entry.path());
                for path in paths.filter(|path| is_plugin_name(path) && !busy.contains(path)) {
                    if let Some(print) = print(&path) {
                        found.insert(path, print);
                    }
                }
            }
            Err(error) => unreadable.push((directory.clone(), error.to_string())),
        }
    }
    (found, unreadable)
}

pub(super) fn is_plugin_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "so")
}

fn print(path: &Path) -> Option<Print> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Print(meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}
