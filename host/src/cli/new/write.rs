//! Puts a package in place: whole, or not at all.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::NewError;
use super::package::File;

/// Writes the files to a directory beside `target`, which then takes its name.
pub(super) fn package(target: &Path, files: &[File]) -> Result<(), NewError> {
    let failed = |cause: io::Error| NewError::Write { path: target.to_owned(), cause };
    let exists = || NewError::Exists(target.to_owned());
    if target.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let temporary = tempfile::Builder::new()
        .prefix(".dropsonde-new-")
        .permissions(Permissions::from_mode(0o777)) // less the umask, as mkdir(1) makes it
        .tempdir_in(parent.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    for (path, text) in files {
        let path = temporary.path().join(path);
        let directory = path.parent().unwrap_or(&path);
        fs::create_dir_all(directory).and_then(|()| fs::write(&path, text)).map_err(failed)?;
    }
    rename(temporary.path(), target).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => exists(),
        _ => failed(error),
    })?;
    let _ = temporary.keep(); // it has another name now
    Ok(())
}

/// rename(2) that takes nobody's place, even an empty directory's, where the file system can.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        done => Ok(done?),
    }
}
