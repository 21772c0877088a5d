//! Requests as files, one each, written aside and renamed: what is there is whole, or is found not
//! to be. Everything here blocks.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Request;

const MAGIC: &[u8; 8] = b"dsotlp1\n";
/// Magic, items, and the first half of the hash of items and body.
const HEAD: usize = 8 + 8 + 16;
const SUFFIX: &str = ".request";
/// What was found damaged last is kept under this name, for a person to look at.
const DAMAGED: &str = "damaged";

/// The directory of one signal's requests.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// A file that waits.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) number: u64,
    /// What the file takes, in bytes.
    pub(super) size: u64,
}

/// Why a request can't be read back.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// It was cut short or changed; it has been set aside.
    #[error("{0} is damaged; it was set aside as `{DAMAGED}` beside it")]
    Damaged(PathBuf),
    #[error("{0} is gone: somebody has removed it")]
    Gone(PathBuf),
    /// Perhaps another time.
    #[error("{0} can't be read: {1}")]
    Io(PathBuf, io::Error),
}

impl Store {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The requests that an agent before left, oldest first, and how many it left half-written,
    /// which are set aside. A directory that is not there is an empty one.
    pub(super) fn scan(&self) -> io::Result<(Vec<Found>, u64)> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
            entries => entries?,
        };
        let (mut found, mut damaged) = (Vec::new(), 0);
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".tmp") {
                self.set_aside(&entry.path());
                damaged += 1;
            } else if let Some(number) =
                name.strip_suffix(SUFFIX).and_then(|name| name.parse().ok())
            {
                found.push(Found { number, size: blocks(entry.metadata()?.len()) });
            }
        }
        found.sort_by_key(|found| found.number);
        Ok((found, damaged))
    }

    /// What the file of a request takes.
    pub(super) fn size(request: &Request) -> u64 {
        blocks((HEAD + request.body.len()) as u64)
    }

    pub(super) fn write(&self, number: u64, request: &Request) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let path = self.path(number);
        let temporary = path.with_extension("tmp");
        let written = write(&temporary, request).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary); // the error says why
        }
        written
    }

    pub(super) fn read(&self, number: u64) -> Result<Request, ReadError> {
        let path = self.path(number);
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes));
        match (read, parse(bytes)) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
                Err(ReadError::Gone(path))
            }
            (Err(error), _) => Err(ReadError::Io(path, error)),
            (Ok(_), Some(request)) => Ok(request),
            (Ok(_), None) => {
                self.set_aside(&path);
                Err(ReadError::Damaged(path))
            }
        }
    }

    /// Removes a request; one that is not there is gone already.
    pub(super) fn remove(&self, number: u64) {
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("{} can't be removed: {error}", path.display());
            }
            _ => {}
        }
    }

    fn set_aside(&self, path: &Path) {
        if fs::rename(path, self.directory.join(DAMAGED)).is_err() {
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}{SUFFIX}"))
    }
}

/// File systems give whole blocks, as a rule of this size.
fn blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(4096)
}

fn write(path: &Path, request: &Request) -> io::Result<()> {
    // Left by an agent that was killed, if it is there.
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let items = request.items.to_le_bytes();
    let hash = hash(&items, &request.body);
    let head: Vec<u8> = [&MAGIC[..], &items, &hash].concat();
    file.write_all(&head)?;
    file.write_all(&request.body)
}

fn parse(bytes: Vec<u8>) -> Option<Request> {
    let items: [u8; 8] = bytes.get(8..16)?.try_into().ok()?;
    let body = bytes.get(HEAD..)?;
    let whole = bytes.starts_with(MAGIC) && bytes.get(16..HEAD)? == hash(&items, body);
    let items = u64::from_le_bytes(items);
    whole.then(|| Request { body: Bytes::from(bytes).slice(HEAD..), items })
}

fn hash(items: &[u8], body: &[u8]) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::new().chain_update(items).chain_update(body).finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_unless_its_file_was_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("a/b"));
        assert_eq!(store.scan().unwrap(), (Vec::new(), 0));
        let request = Request { body: Bytes::from_static(b"body"), items: 7 };
        for number in [3, 10, 4, 5] {
            store.write(number, &request).unwrap();
        }
        let read = store.read(3).unwrap();
        assert_eq!((&read.body[..], read.items), (&b"body"[..], 7));
        let path = |number| store.path(number);
        for at in 0..36 {
            let mut bytes = fs::read(path(3)).unwrap();
            bytes[at] ^= 1;
            fs::write(path(4), bytes).unwrap();
            assert!(matches!(store.read(4), Err(ReadError::Damaged(_))), "byte {at}");
        }
        for length in 0..36 {
            fs::write(path(5), &fs::read(path(3)).unwrap()[..length]).unwrap();
            assert!(matches!(store.read(5), Err(ReadError::Damaged(_))), "cut to {length}");
        }
        assert!(matches!(store.read(6), Err(ReadError::Gone(_))));
        fs::write(path(11).with_extension("tmp"), b"half").unwrap();
        let (found, damaged) = store.scan().unwrap();
        let numbers: Vec<u64> = found.iter().map(|found| found.number).collect();
        assert_eq!((numbers, damaged), (vec![3, 10], 1));
        assert_eq!(fs::read(directory.path().join("a/b/damaged")).unwrap(), b"half");
        store.remove(3);
        store.remove(3);
        assert_eq!(store.scan().unwrap().0, [Found { number: 10, size: 4096 }]);
    }
}
