//! Lists processes and reads their files, into buffers that are kept: nothing is allocated for a
//! process.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use dropsonde_plugin_api::{Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

/// A mounted procfs.
#[derive(Debug)]
pub(crate) struct Procfs {
    root: PathBuf,
    /// The root, open: paths from there are the shortest.
    directory: Option<OwnedFd>,
    entries: Vec<u8>,
    path: String,
    text: Vec<u8>,
}

/// Why a file of a process could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The process is gone.
    Vanished,
    /// The file is not for this user, or not for a confined process.
    Closed,
    /// Something else.
    Failed(Errno),
}

/// The entries that one getdents64(2) gives.
const ENTRIES_BYTES: usize = 32 << 10;
/// More than any of the files has: the kernel gives each in one read(2).
const TEXT_BYTES: usize = 4 << 10;

impl Procfs {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            directory: None,
            entries: Vec::with_capacity(ENTRIES_BYTES),
            path: String::new(),
            text: vec![0; TEXT_BYTES],
        }
    }

    /// The processes that can be seen, replacing what is in `pids`; in ascending order. An error
    /// names the root.
    pub(crate) fn list(&mut self, pids: &mut Vec<u32>) -> Result<()> {
        pids.clear();
        self.try_list(pids).map_err(|error| {
            self.directory = None; // the next round opens it anew
            Error::from(error).context(self.root.display())
        })?;
        if !pids.is_sorted() {
            pids.sort_unstable(); // a procfs gives them in order, a copy of one may not
        }
        Ok(())
    }

    fn try_list(&mut self, pids: &mut Vec<u32>) -> rustix::io::Result<()> {
        let directory = match &mut self.directory {
            Some(directory) => {
                rustix::fs::seek(&*directory, SeekFrom::Start(0))?;
                directory
            }
            none => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                none.insert(rustix::fs::open(&self.root, flags, Mode::empty())?)
            }
        };
        let mut entries = RawDir::new(directory, self.entries.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            pids.extend(pid(entry?.file_name().to_bytes()));
        }
        Ok(())
    }

    /// Reads a file of a process.
    pub(crate) fn read(&mut self, pid: u32, file: &str) -> Result<&[u8], Unread> {
        let directory = self.directory.as_ref().ok_or(Unread::Vanished)?;
        self.path.clear();
        let _ = write!(self.path, "{pid}/{file}"); // text takes anything
        read_at(directory, &self.path, &mut self.text)
    }

    /// The directory of a process. What is read by way of it is never of another process, even if
    /// the pid has been used again.
    pub(crate) fn open(&mut self, pid: u32) -> Result<Directory, Unread> {
        let root = self.directory.as_ref().ok_or(Unread::Vanished)?;
        self.path.clear();
        let _ = write!(self.path, "{pid}"); // text takes anything
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Directory(rustix::fs::openat(root, &self.path, flags, Mode::empty())?))
    }

    /// Reads a file of that process.
    pub(crate) fn read_in(&mut self, process: &Directory, file: &str) -> Result<&[u8], Unread> {
        read_at(&process.0, file, &mut self.text)
    }
}

/// The directory of one process.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Whether the process is still there: a kernel may lack one of its files.
    pub(crate) fn is_alive(&self) -> bool {
        rustix::fs::accessat(&self.0, "stat", Access::EXISTS, AtFlags::empty()).is_ok()
    }
}

fn read_at<'a>(at: impl AsFd, path: &str, text: &'a mut [u8]) -> Result<&'a [u8], Unread> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, path, flags, Mode::empty())?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *text))?;
    Ok(&text[..length])
}

impl From<Errno> for Unread {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::SRCH => Self::Vanished,
            Errno::ACCESS | Errno::PERM => Self::Closed,
            other => Self::Failed(other),
        }
    }
}

/// `None` for a name that is no number.
fn pid(name: &[u8]) -> Option<u32> {
    crate::stat::number(name)?.try_into().ok()
}
