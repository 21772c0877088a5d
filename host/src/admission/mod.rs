//! Admission: nothing is loaded into the host, or stays in a runner, untried.
//!
//! A file is read once, as bytes; those bytes are hashed, looked at as ELF, trusted by
//! owner, mode and signature, and staged to a private file of a new name; a child process loads
//! that file and runs one round. The watched path itself is never opened by `dlopen`: the linker
//! would answer a known path or inode with the old code, and a file that is written to while it
//! is mapped ends the process.

mod elf;
mod probe;
mod read;
mod scan;
mod signature;
mod stage;
mod trust;
mod watch;

use std::path::PathBuf;

use dropsonde_plugin_api::abi::Manifest;
use thiserror::Error;

pub use elf::ElfError;
pub(crate) use elf::{ElfNotes, inspect};
pub(crate) use probe::{Probed, check_settings, probe};
pub(crate) use read::{Contents, read};
pub(crate) use scan::{Print, Scanned, is_busy, is_young, scan};
pub use signature::KeyId;
pub(crate) use signature::TrustedKey;
pub(crate) use stage::{Staging, read_and_stage};
pub(crate) use trust::Trust;
pub use trust::{TrustError, UnsafePermissions};
pub(crate) use watch::{ChangeStream, Changes, Watcher};

use crate::runner::Failure;

/// A plugin file that was checked, in its private copy. The copy is removed when the last
/// collector has let go of it.
#[derive(Debug)]
pub(crate) struct Image {
    /// Where it was found.
    pub(crate) source: PathBuf,
    /// The private copy.
    pub(crate) staged: PathBuf,
    /// SHA-256 of the bytes.
    pub(crate) hash: [u8; 32],
    pub(crate) manifest: Manifest,
    pub(crate) notes: ElfNotes,
    /// Counts the images of this plugin from 1.
    pub(crate) generation: u32,
}

impl Image {
    /// The hash as it is written.
    pub(crate) fn sha256(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.staged); // mapped pages outlive their name
    }
}

/// Why a plugin file was not admitted. The text says what is wrong and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The file could not be read.
    #[error("can't be read: {0}; check its permissions")]
    Read(String),
    /// The file is unreasonably large.
    #[error("has {0} bytes, allowed are {MAX_FILE}; strip it, or build it in release mode")]
    TooLarge(u64),
    /// The file is no shared object that this machine could load.
    #[error("{0}")]
    Elf(#[from] elf::ElfError),
    /// Others could have written it, or nobody trusted has signed it.
    #[error("{0}")]
    Trust(#[from] trust::TrustError),
    /// The private copy could not be made.
    #[error("can't be copied to {directory}: {cause}; free some space, or set host.runtime_dir")]
    Stage {
        /// Where to.
        directory: String,
        /// Why not.
        cause: String,
    },
    /// Another file has the same plugin.
    #[error("is plugin `{name}`, as {other} is; remove one of the two")]
    Duplicate {
        /// The plugin's name.
        name: String,
        /// The file that was there first.
        other: String,
    },
    /// It failed when it was tried out in a process of its own.
    #[error("failed its trial in a process of its own: {0}")]
    Probe(Failure),
}

/// Largest plugin file: an unstripped debug build has some tens of megabytes.
pub(crate) const MAX_FILE: u64 = 256 << 20;
