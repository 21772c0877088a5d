//! The files of the directory, and what was read of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dropsonde_samples::settings::Size;
use dropsonde_samples::{Format, Reading};
use rustix::fs::{Mode, OFlags};

/// Most files that are read.
const MAX_FILES: usize = 1000;
/// How often a file that is written to while it is read is read again.
const TRIES: usize = 3;

/// What is known of the directory's files.
pub(crate) struct Files {
    directory: PathBuf,
    max_file: Size,
    found: BTreeMap<PathBuf, Found>,
}

/// A file that was read.
pub(crate) struct Found {
    print: Print,
    pub(crate) mtime: SystemTime,
    pub(crate) reading: Reading,
}

/// Tells whether a file is another, or was written to: device, inode, size, time of last change.
type Print = (u64, u64, u64, i64, i64);

impl Files {
    pub(crate) fn new(directory: PathBuf, max_file: Size) -> Self {
        Self { directory, max_file, found: BTreeMap::new() }
    }

    /// By path.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&Path, &Found)> {
        self.found.iter().map(|(path, found)| (path.as_path(), found))
    }

    /// Reads what has changed; says what could not be read, which is then known no more.
    pub(crate) fn look(&mut self) -> Vec<String> {
        let directory = self.directory.display();
        let mut names = match names(&self.directory) {
            Ok(names) => names,
            Err(error) => {
                self.found.clear();
                return vec![format!("{directory}: {error}")];
            }
        };
        let mut faults = Vec::new();
        if names.len() > MAX_FILES {
            let count = names.len();
            faults.push(format!("{directory}: {count} files, the first {MAX_FILES} are read"));
            names.truncate(MAX_FILES);
        }
        let mut before = std::mem::take(&mut self.found);
        for path in names {
            let known = before.remove(&path);
            match look_at(&path, known, self.max_file) {
                Ok(found) => drop(self.found.insert(path, found)),
                // It was there a moment ago, and is not now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        faults
    }
}

/// The files whose names end in `.prom`, in order.
fn names(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("prom")) {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file, unless it is what is known. What was renamed over it meanwhile is for the next
/// round: the file that was opened is read to its end.
fn look_at(path: &Path, mut known: Option<Found>, max_file: Size) -> io::Result<Found> {
    // Without O_NONBLOCK, a FIFO would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..TRIES {
        let mut file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("is no plain file"));
        }
        if meta.len() > max_file.0 as u64 {
            let text = format!("has {} bytes, and `max_file` is {max_file}", meta.len());
            return Err(io::Error::other(text));
        }
        let print = print(&meta);
        if let Some(known) = known.take_if(|known| known.print == print) {
            return Ok(known);
        }
        let mut bytes = Vec::new();
        file.by_ref().take(max_file.0 as u64 + 1).read_to_end(&mut bytes)?;
        if self::print(&file.metadata()?) == print {
            let reading = Format::Prometheus.read(&bytes);
            return Ok(Found { print, mtime: meta.modified()?, reading });
        }
    }
    Err(io::Error::other("is being written to; write another file and rename it"))
}

fn print(meta: &Metadata) -> Print {
    (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec())
}
