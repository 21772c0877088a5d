//! The files of the directory, and what was read of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dropsonde_samples::settings::{Size, Span};
use dropsonde_samples::{Format, MAX_SAMPLES, Reading};
use rustix::fs::{Mode, OFlags};

/// Most files that are read.
const MAX_FILES: usize = 1000;
/// How often a file that is written to while it is read is read again.
const TRIES: usize = 3;
/// For so long after its last change a file may change again at what is the same time to its file
/// system: before Linux 6.13 that goes by the tick of a clock, with FAT by two seconds.
const TICK: Duration = Duration::from_secs(2);

/// What is known of the directory's files.
pub(crate) struct Files {
    directory: PathBuf,
    max_file: Size,
    max_age: Option<Span>,
    found: BTreeMap<PathBuf, Found>,
}

/// A file that was read.
pub(crate) struct Found {
    print: Print,
    /// Its print tells whether it is as it was read: its last change was long enough ago then.
    is_settled: bool,
    pub(crate) mtime: SystemTime,
    /// It was read in the last look.
    pub(crate) is_new: bool,
    /// It was not written for too long.
    pub(crate) stale: bool,
    /// Without samples, if they are left out.
    pub(crate) reading: Reading,
    /// So many samples, which are too old, or for which there is no room beside those of the files
    /// before.
    left_out: Option<usize>,
}

/// What is taken of a file in one look.
struct Limits {
    /// Samples for which there is room.
    room: usize,
    max_age: Option<Span>,
    now: SystemTime,
}

/// Tells whether a file is another, or was written to: device, inode, size, time of last change.
type Print = (u64, u64, u64, i64, i64);

impl Files {
    pub(crate) fn new(directory: PathBuf, max_file: Size, max_age: Option<Span>) -> Self {
        Self { directory, max_file, max_age, found: BTreeMap::new() }
    }

    /// By path.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&Path, &Found)> {
        self.found.iter().map(|(path, found)| (path.as_path(), found))
    }

    /// Reads what has changed; says what could not be read, which is then known no more, and whose
    /// samples are left out: those of files that are too old, and more than can be published.
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
        let (max_age, now) = (self.max_age, SystemTime::now());
        let mut limits = Limits { room: MAX_SAMPLES, max_age, now };
        for path in names {
            let known = before.remove(&path).filter(|known| !known.fits_again(&limits));
            match look_at(&path, known, self.max_file) {
                Ok(mut found) => {
                    let why = found.fit(&limits);
                    faults.extend(why.map(|why| format!("{}: {why}", path.display())));
                    limits.room = limits.room.saturating_sub(found.reading.samples.len());
                    self.found.insert(path, found);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A file was there a moment ago, and is not now; a link still is.
                    if path.is_symlink() {
                        faults.push(format!("{}: is a link to nothing", path.display()));
                    }
                }
                Err(error) => faults.push(format!("{}: {error}", path.display())),
            }
        }
        faults
    }
}

impl Found {
    /// What was left out is wanted now.
    fn fits_again(&self, limits: &Limits) -> bool {
        let fits = self.left_out.is_some_and(|count| count <= limits.room);
        fits && self.too_old(limits).is_none()
    }

    /// Leaves its samples out if they are too old or too many, and says so.
    fn fit(&mut self, limits: &Limits) -> Option<String> {
        let count = self.left_out.unwrap_or(self.reading.samples.len());
        let too_old = self.too_old(limits);
        self.stale = too_old.is_some();
        if !self.stale && count <= limits.room {
            return None;
        }
        self.left_out = Some(count);
        self.reading.samples = Vec::new();
        Some(too_old.unwrap_or_else(|| {
            format!(
                "its {count} samples are left out: with those of the files before, there are more \
                 than {MAX_SAMPLES}"
            )
        }))
    }

    /// That it is, if so.
    fn too_old(&self, limits: &Limits) -> Option<String> {
        let most = limits.max_age?;
        let age = limits.now.duration_since(self.mtime).ok()?;
        let seconds = age.as_secs();
        (age > most.0).then(|| {
            format!(
                "was not written for {seconds} s, and `max_age` is {most}; its samples are left out"
            )
        })
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
        if let Some(known) = known.take_if(|known| known.is_settled && known.print == print) {
            return Ok(Found { is_new: false, ..known });
        }
        let is_settled = is_settled(changed(&meta), SystemTime::now());
        let mut bytes = Vec::new();
        file.by_ref().take(max_file.0 as u64 + 1).read_to_end(&mut bytes)?;
        if self::print(&file.metadata()?) == print {
            return Ok(Found {
                print,
                is_settled,
                mtime: meta.modified()?,
                is_new: true,
                stale: false,
                reading: Format::Prometheus.read(&bytes),
                left_out: None,
            });
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

/// Whether a file that was last changed then can't be changed at the same time again.
fn is_settled(changed: Option<SystemTime>, now: SystemTime) -> bool {
    changed.and_then(|at| now.duration_since(at).ok()).is_some_and(|since| since > TICK)
}

/// When a file was last changed, in any way.
fn changed(meta: &Metadata) -> Option<SystemTime> {
    let since = Duration::new(meta.ctime().try_into().ok()?, meta.ctime_nsec().try_into().ok()?);
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of the one file after something else was made of it in memory.
    fn after_another_look(files: &mut Files) -> usize {
        files.found.values_mut().for_each(|found| found.reading = Reading::default());
        assert_eq!(files.look(), [""; 0]);
        files.found.values().map(|found| found.reading.samples.len()).sum()
    }

    #[test]
    fn a_file_is_read_again_until_its_last_change_is_so_long_ago_that_the_next_one_shows() {
        let directory = tempfile::TempDir::new().unwrap();
        fs::write(directory.path().join("a.prom"), "a 1\n").unwrap();
        let mut files = Files::new(directory.path().to_owned(), Size(100), None);
        assert_eq!(files.look(), [""; 0]);
        assert_eq!(after_another_look(&mut files), 1, "it was just written");
        files.found.values_mut().for_each(|found| found.is_settled = true);
        assert_eq!(after_another_look(&mut files), 0, "it is as it was read");
    }

    #[test]
    fn a_change_within_a_tick_of_the_read_may_not_be_the_last_at_that_time() {
        let at = |milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds);
        for (changed, now, expected) in
            [(1000, 1000, false), (1000, 3000, false), (1000, 3001, true), (5000, 1000, false)]
        {
            assert_eq!(is_settled(Some(at(changed)), at(now)), expected, "{changed} {now}");
        }
        assert!(!is_settled(None, at(1000)));
    }
}
