//! What lies in the plugin directories.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::signature::signature_path;
use crate::clock;

/// Tells whether a verdict on a file may have changed: other bytes, another mode or owner of the
/// file or a directory, or another signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Print {
    file: FilePrint,
    signature: Option<FilePrint>,
    directories: Vec<DirectoryPrint>,
}

impl Print {
    /// Whether it changed so lately that somebody may be in the middle of writing it.
    pub(crate) fn is_young(&self) -> bool {
        let mut files = self.signature.iter().chain([&self.file]);
        files.any(|file| is_young(file.2, file.3, file.4))
    }
}

/// A change is left alone for so long: a copy that truncates and then writes is between the two
/// for a moment. Shorter than changes are gathered, so that nothing waits for it that was heard
/// of.
const YOUNG: Duration = Duration::from_millis(40);
/// An empty file is likely to be between the two, however long it takes.
const YOUNG_EMPTY: Duration = Duration::from_secs(2);

/// Whether a file of this size, and with this time of its last change, was changed so lately
/// that it may not be complete.
pub(crate) fn is_young(size: u64, seconds: i64, nanos: i64) -> bool {
    let since = u64::try_from(seconds).unwrap_or(0);
    let at = UNIX_EPOCH + Duration::new(since, u32::try_from(nanos).unwrap_or(0));
    clock::wall()
        .duration_since(at)
        .is_ok_and(|age| age < if size == 0 { YOUNG_EMPTY } else { YOUNG })
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
