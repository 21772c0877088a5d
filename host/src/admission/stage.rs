//! Reads a plugin file once, and copies what was read to a private file of a new name.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::{Image, MAX_FILE, Rejection, elf};

const PREFIX: &str = "dropsonde-";

/// The private directory for copies: only its owner may enter. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    serial: AtomicU64,
}

impl Staging {
    /// Makes the directory; its name has the process's id. Removes those that hosts of the same
    /// user left behind when they were killed.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_leftovers(parent);
        let unique = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        Ok(Self { directory: unique.keep(), serial: AtomicU64::new(0) })
    }

    fn next(&self, stem: &str) -> PathBuf {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{serial}-{stem}"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn remove_leftovers(parent: &Path) {
    let me = rustix::process::getuid().as_raw();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        let mine = |meta: fs::Metadata| meta.is_dir() && meta.uid() == me;
        if let Some(pid) = pid
            && !Path::new("/proc").join(pid.to_string()).exists()
            && fs::symlink_metadata(entry.path()).is_ok_and(mine)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Reads, checks and copies a file. `generation` is what the image will be called. Blocks on
/// the disk. The file may change meanwhile: what is checked and copied is what was read.
pub(crate) fn read_and_stage(
    staging: &Staging,
    path: &Path,
    generation: u32,
) -> Result<Image, Rejection> {
    let bytes = read(path)?;
    let hash: [u8; 32] = Sha256::digest(&bytes).into();
    let (manifest, notes) = elf::inspect(&bytes)?;
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let staged = staging.next(&stem);
    write(&staged, &bytes).map_err(|error| Rejection::Stage {
        directory: staging.directory.display().to_string(),
        cause: error.to_string(),
    })?;
    Ok(Image { source: path.to_owned(), staged, hash, manifest, notes, generation })
}

fn read(path: &Path) -> Result<Vec<u8>, Rejection> {
    let failed = |error: io::Error| Rejection::Read(error.to_string());
    // A pipe of the same name would block for ever without O_NONBLOCK.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file =
        fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Rejection::Read("it is no regular file".into()));
    }
    if meta.len() > MAX_FILE {
        return Err(Rejection::TooLarge(meta.len()));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o500)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, bytes));
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
