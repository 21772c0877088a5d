//! Reads a plugin file once, with what its descriptor says of owner and mode.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{MAX_FILE, Rejection};

/// What was read of a plugin file.
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    /// Of the descriptor that was read, not of the path: the path may name another file by now.
    pub(crate) meta: fs::Metadata,
}

/// Reads a whole plugin file. Blocks on the disk.
pub(crate) fn read(path: &Path) -> Result<Contents, Rejection> {
    let failed = |error: io::Error| Rejection::Read(error.to_string());
    let (file, meta) = open(path).map_err(failed)?;
    if meta.len() > MAX_FILE {
        return Err(Rejection::TooLarge(meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Contents { bytes, meta })
}

/// Opens a regular file, following links.
pub(super) fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    // A pipe of the same name would block for ever without O_NONBLOCK.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok((file, meta))
}
