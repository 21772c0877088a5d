//! The files of the directory, and what was read of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dropsonde_samples::settings::Size;
use dropsonde_samples::{Format, MAX_SAMPLES, Reading};
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
    /// Without samples, if they are left out.
    pub(crate) reading: Reading,
    /// So many samples, for which there is no room beside those of the files before.
    left_out: Option<usize>,
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

    /// Reads what has changed; says what could not be read, which is then known no more, and whose
    /// samples are left out: no more are kept than can be published.
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
        let mut room = MAX_SAMPLES;
        for path in names {
            let known = before.remove(&path).filter(|known| !known.fits_again(room));
            match look_at(&path, known, self.max_file) {
                Ok(mut found) => {
                    faults.extend(found.fit(&path, room));
                    room = room.saturating_sub(found.reading.samples.len());
                    self.found.insert(path, found);
                }
                // It was there a moment ago, and is not now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        faults
    }
}

impl Found {
    /// There is room now for what was left out.
    fn fits_again(&self, room: usize) -> bool {
        self.left_out.is_some_and(|count| count <= room)
    }

    /// Leaves its samples out if they are more than that, and says so.
    fn fit(&mut self, path: &Path, room: usize) -> Option<String> {
        let count = self.left_out.unwrap_or(self.reading.samples.len());
        if count <= room {
            return None;
        }
        self.left_out = Some(count);
        self.reading.samples = Vec::new();
        let path = path.display();
        Some(format!(
            "{path}: its {count} samples are left out: with those of the files before, there are \
             more than {MAX_SAMPLES}"
        ))
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
        if !is_led_to(path, &meta)? {
            continue; // another stands there meanwhile
        }
        if let Some(known) = known.take_if(|known| known.print == print) {
            return Ok(known);
        }
        let mut bytes = Vec::new();
        file.by_ref().take(max_file.0 as u64 + 1).read_to_end(&mut bytes)?;
        if self::print(&file.metadata()?) == print {
            let reading = Format::Prometheus.read(&bytes);
            return Ok(Found { print, mtime: meta.modified()?, reading, left_out: None });
        }
    }
    Err(io::Error::other("is being written to; write another file and rename it"))
}

/// Whether a path still leads to a file that was opened by it. Fails if it is a link that may not
/// be followed: as with the kernel's `protected_symlinks`, its owner must be root or the file's,
/// so that nobody has files read for him that he can't read.
fn is_led_to(path: &Path, file: &Metadata) -> io::Result<bool> {
    let entry = fs::symlink_metadata(path)?;
    if !entry.is_symlink() {
        return Ok((entry.dev(), entry.ino()) == (file.dev(), file.ino()));
    }
    match (entry.uid(), file.uid()) {
        (link, owner) if link == 0 || link == owner => Ok(true),
        (link, owner) => Err(io::Error::other(format!(
            "is a link of user {link} to a file of user {owner}; it is followed if it is root's \
             or the file's owner's"
        ))),
    }
}

fn print(meta: &Metadata) -> Print {
    (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec())
}
