//! Checks a plugin file, and copies what was read of it to a private file of a new name.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{StatVfsMountFlags, statvfs};
use sha2::{Digest, Sha256};

use super::{Image, KeyId, Rejection, Trust, elf, read};

const PREFIX: &str = "dropsonde-";

/// The private directory for copies: only its owner may enter. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    serial: AtomicU64,
}

impl Staging {
    /// Makes the directory; its name has the process's id. Removes those that hosts of the same
    /// user left behind when they were killed. Fails on a file system that lets nothing be
    /// executed, as /run may be: the linker would refuse each copy with words that don't tell why.
    pub(crate) fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_leftovers(parent);
        let unique = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        if statvfs(unique.path())?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            let text = "it is mounted noexec, so that no plugin could be loaded from there";
            return Err(io::Error::other(text));
        }
        Ok(Self { directory: unique.keep(), serial: AtomicU64::new(0) })
    }

    fn next(&self, stem: &str) -> PathBuf {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{serial}-{stem}"))
    }

    /// Writes a private copy. The directory is made again if somebody has tidied it away.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match write(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(&self.directory)?;
                write(path, bytes)
            }
            written => written,
        }
    }

    /// Makes the copy of an image again if somebody has tidied it away, from a source that still
    /// has the same bytes. Blocks on the disk.
    pub(crate) fn restore(&self, image: &Image) -> io::Result<()> {
        if image.staged.exists() {
            return Ok(());
        }
        let contents = read(&image.source).map_err(|error| io::Error::other(error.to_string()))?;
        let hash: [u8; 32] = Sha256::digest(&contents.bytes).into();
        if hash != image.hash {
            return Err(io::Error::other("the copy is gone, and the plugin's file has changed"));
        }
        self.write(&image.staged, &contents.bytes)
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

/// Reads, checks and copies a file, and tells who signed it. `generation` is what the image will
/// be called. Blocks on the disk. The file may change meanwhile: what is checked and copied is what was read.
pub(crate) fn read_and_stage(
    staging: &Staging,
    path: &Path,
    generation: u32,
    trust: &Trust,
) -> Result<(Image, Option<KeyId>), Rejection> {
    let contents = read(path)?;
    let hash: [u8; 32] = Sha256::digest(&contents.bytes).into();
    let (manifest, notes) = elf::inspect(&contents.bytes)?;
    let trusted = trust.check(path, &contents)?;
    if let Some(warning) = trusted.warning {
        let file = path.display().to_string();
        tracing::warn!(file, "{warning}; admitted: unsafe permissions are allowed");
    }
    let stem = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let staged = staging.next(&stem);
    staging.write(&staged, &contents.bytes).map_err(|error| Rejection::Stage {
        directory: staging.directory.display().to_string(),
        cause: error.to_string(),
    })?;
    let image = Image { source: path.to_owned(), staged, hash, manifest, notes, generation };
    Ok((image, trusted.signed_by))
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
