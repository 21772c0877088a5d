//! What lies in the plugin directories.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::signature::signature_path;

/// Tells whether a verdict on a file may have changed: other bytes, another mode or owner of the
/// file or a directory, or another signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Print {
    file: FilePrint,
    signature: Option<FilePrint>,
    directories: Vec<DirectoryPrint>,
}

/// Device, inode, size, change time. A new mode is a new change time.
type FilePrint = (u64, u64, u64, i64, i64);

/// Owner, group, mode; its change time is that of its newest file.
type DirectoryPrint = (u32, u32, u32);

/// The plugin files that were found, by path.
pub(crate) type Scanned = BTreeMap<PathBuf, Print>;

/// Lists the `.so` files of the directories, not below them. A name that begins with a dot is
/// left out: copying tools use such for files that are not complete. A directory that can't be
/// read, though it may be there, is named in the second result: nothing is known of its files.
pub(crate) fn scan(
    directories: &[PathBuf],
    busy: &HashSet<PathBuf>,
) -> (Scanned, Vec<(PathBuf, String)>) {
    let mut found = Scanned::new();
    let mut unreadable = Vec::new();
    for directory in directories {
        match fs::read_dir(directory) {
            Ok(entries) => {
                let place = directory_print(directory);
                for entry in entries.flatten() {
                    let path = entry.path();
                    if !is_plugin_name(&path) || is_busy(busy, &path) {
                        continue;
                    }
                    let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                    if let Some(print) = print(&path, place, is_link) {
                        found.insert(path, print);
                    }
                }
            }
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => {}
            Err(error) => unreadable.push((directory.clone(), error.to_string())),
        }
    }
    (found, unreadable)
}

/// Whether a plugin file, or its signature, is being written.
pub(crate) fn is_busy(busy: &HashSet<PathBuf>, path: &Path) -> bool {
    !busy.is_empty() && (busy.contains(path) || busy.contains(&signature_path(path)))
}

fn is_plugin_name(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "so")
}

fn print(path: &Path, place: Option<DirectoryPrint>, is_link: bool) -> Option<Print> {
    let target = if is_link { fs::canonicalize(path).ok() } else { None };
    let target_place = target.as_deref().and_then(Path::parent).and_then(directory_print);
    Some(Print {
        file: file_print(path)?,
        signature: file_print(&signature_path(path)),
        directories: place.into_iter().chain(target_place).collect(),
    })
}

fn file_print(path: &Path) -> Option<FilePrint> {
    let meta = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some((meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
}

fn directory_print(path: &Path) -> Option<DirectoryPrint> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.uid(), meta.gid(), meta.mode()))
}
