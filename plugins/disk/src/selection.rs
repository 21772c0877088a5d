//! The mounts to show, made afresh only when the kernel's list has changed.

use std::fs::File;
use std::path::Path;

use dropsonde_plugin_api::{KeptFile, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};

use crate::filter::Filter;
use crate::mounts::{self, Mount};

/// The kernel's list of mounts, and what the user wants of it.
#[derive(Debug)]
pub(crate) struct Selection {
    mounts_file: KeptFile,
    /// Tells of changes of that file, if the kernel does.
    watch: Option<File>,
    filesystems_file: KeptFile,
    filter: Filter,
    /// What `selected` was made of.
    mounts_text: Vec<u8>,
    selected: Selected,
    /// Read afresh in the next round, whatever the kernel tells.
    stale: bool,
    /// Which types of file systems answer from memory.
    pub(crate) answers: fn(&str) -> bool,
}

/// The mounts to show, and what of the list could not be read.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) partial: Vec<String>,
}

impl Selection {
    pub(crate) fn new(proc_root: &Path, filter: Filter) -> Self {
        // `/proc/mounts` is a link to it, but a copy of a procfs may have only the one.
        let own = proc_root.join("self/mounts");
        let all = proc_root.join("mounts");
        let path = if !own.exists() && all.exists() { all } else { own };
        Self {
            watch: File::open(&path).ok().filter(tells_of_changes),
            mounts_file: KeptFile::new(path),
            filesystems_file: KeptFile::new(proc_root.join("filesystems")),
            filter,
            mounts_text: Vec::new(),
            selected: Selected::default(),
            stale: true,
            answers: mounts::answers_from_memory,
        }
    }

    /// Reads the list afresh in the next round: a directory above a mount point may have been
    /// renamed, of which the kernel does not tell.
    pub(crate) fn doubt(&mut self) {
        self.stale = true;
    }

    /// Fails if the list of mounts can't be read. Without the list of file systems only the root
    /// and what the user has named are known to be wanted.
    pub(crate) fn read(&mut self) -> Result<&Selected> {
        let unchanged = self.watch.as_ref().is_some_and(is_unchanged);
        if unchanged && !self.stale {
            return Ok(&self.selected);
        }
        self.stale = true; // should the next line fail
        let mounts_text = self.mounts_file.read()?;
        self.stale = false;
        // The type of a mount never changes, so the list of types is as old as the list of mounts.
        if !self.selected.partial.is_empty() || self.mounts_text != mounts_text {
            self.mounts_text = mounts_text.to_owned();
            self.select();
        }
        Ok(&self.selected)
    }

    fn select(&mut self) {
        let mut trouble = None;
        let filesystems = self.filesystems_file.read().unwrap_or_else(|error| {
            trouble = Some(error.to_string());
            &[]
        });
        let filesystems = String::from_utf8_lossy(filesystems);
        let physical_types = mounts::physical_types(&filesystems);
        let (mut mounts, malformed) = mounts::parse(&self.mounts_text);
        mounts::mark_prompt(&mut mounts, self.answers);
        mounts.retain(|mount| self.filter.shows(mount, &physical_types));
        // Of what is left: where one mount of a device is excluded, another shows its room.
        if self.filter.is_default() {
            mounts::leave_out_binds(&mut mounts);
        }
        let path = self.mounts_file.path().display();
        let malformed = malformed.iter().map(|line| format!("{path}: line {line}: malformed"));
        let partial: Vec<String> = malformed.chain(trouble).collect();
        self.stale = !partial.is_empty(); // it may be mended
        self.selected = Selected { mounts, partial };
    }
}

/// Whether it is procfs's own file, which poll(2) tells of changes, and not a copy.
fn tells_of_changes(file: &File) -> bool {
    fstatfs(file).is_ok_and(|stat| stat.f_type == PROC_SUPER_MAGIC)
}

/// Whether the list of mounts is as it was when this was last asked, or the file was opened
/// (proc_pid_mounts(5)). Asked before the list is read, so no change is missed.
fn is_unchanged(file: &File) -> bool {
    let mut watched = [PollFd::new(file, PollFlags::PRI)];
    let asked = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    asked.is_ok() && !watched[0].revents().intersects(PollFlags::PRI | PollFlags::ERR)
}
