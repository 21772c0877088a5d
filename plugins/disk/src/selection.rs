//! The mounts to show, made afresh only when the kernel's list has changed.

use std::path::Path;

use dropsonde_plugin_api::{KeptFile, Result};

use crate::filter::Filter;
use crate::mounts::{self, Mount};

/// The kernel's list of mounts, and what the user wants of it.
#[derive(Debug)]
pub(crate) struct Selection {
    mounts_file: KeptFile,
    filesystems_file: KeptFile,
    filter: Filter,
    /// What `selected` was made of.
    mounts_text: Vec<u8>,
    filesystems_text: Vec<u8>,
    selected: Selected,
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
            mounts_file: KeptFile::new(path),
            filesystems_file: KeptFile::new(proc_root.join("filesystems")),
            filter,
            mounts_text: Vec::new(),
            filesystems_text: Vec::new(),
            selected: Selected::default(),
        }
    }

    /// Fails if the list of mounts can't be read. Without the list of file systems only the root
    /// and what the user has named are known to be wanted.
    pub(crate) fn read(&mut self) -> Result<&Selected> {
        let mounts_text = self.mounts_file.read()?;
        let mut trouble = None;
        let filesystems_text = self.filesystems_file.read().unwrap_or_else(|error| {
            trouble = Some(error.to_string());
            &[]
        });
        if trouble.is_some()
            || !self.selected.partial.is_empty()
            || self.mounts_text != mounts_text
            || self.filesystems_text != filesystems_text
        {
            self.mounts_text = mounts_text.to_owned();
            self.filesystems_text = filesystems_text.to_owned();
            self.select();
            self.selected.partial.extend(trouble);
        }
        Ok(&self.selected)
    }

    fn select(&mut self) {
        let (mut mounts, malformed) = mounts::parse(&self.mounts_text);
        let filesystems = String::from_utf8_lossy(&self.filesystems_text);
        let physical_types = mounts::physical_types(&filesystems);
        mounts.retain(|mount| self.filter.shows(mount, &physical_types));
        let path = self.mounts_file.path().display();
        let partial =
            malformed.iter().map(|line| format!("{path}: line {line}: malformed")).collect();
        self.selected = Selected { mounts, partial };
    }
}
