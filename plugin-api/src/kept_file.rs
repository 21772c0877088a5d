//! A file that stays open between rounds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file of `/proc` or `/sys` that is opened once and read from its start each round.
///
/// Opening and closing costs as much again as reading a small file of `/proc`; reading at
/// offset 0 makes the kernel render it afresh (Documentation/filesystems/seq_file.rst).
#[derive(Debug)]
pub struct KeptFile {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl KeptFile {
    /// Names the file; it is opened when it is first read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, buffer: Vec::new() }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file. Blocks as the file does; an error names the path, and the next
    /// call opens the file anew.
    pub fn read(&mut self) -> Result<&[u8]> {
        match self.try_read() {
            Ok(length) => Ok(&self.buffer[..length]),
            Err(error) => {
                self.file = None;
                Err(Error::from(error).context(self.path.display()))
            }
        }
    }

    /// [`read`](Self::read) as text. Bytes that are not UTF-8 are an error.
    pub fn read_text(&mut self) -> Result<&str> {
        let length = self.read()?.len();
        std::str::from_utf8(&self.buffer[..length])
            .map_err(|error| Error::from(error).context(self.path.display()))
    }

    fn try_read(&mut self) -> io::Result<usize> {
        if self.buffer.is_empty() {
            self.buffer.resize(4096, 0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        let mut length = 0;
        loop {
            match file.read_at(&mut self.buffer[length..], length as u64) {
                Ok(0) => return Ok(length),
                Ok(read) => {
                    length += read;
                    if length < self.buffer.len() {
                        // A short read of a seq_file ends at a record, not at the end: go on.
                        continue;
                    }
                    self.buffer.resize(self.buffer.len() * 2, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(contents: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, contents).unwrap();
        (directory, path)
    }

    #[test]
    fn each_read_starts_anew() {
        let (_directory, path) = file("a long first text");
        let mut kept = KeptFile::new(&path);
        assert_eq!(kept.read_text().unwrap(), "a long first text");
        fs::write(&path, "short").unwrap();
        assert_eq!(kept.read_text().unwrap(), "short");
        assert_eq!(kept.read_text().unwrap(), "short");
    }

    #[test]
    fn the_file_stays_open_between_reads() {
        let (_directory, path) = file("kept");
        let mut kept = KeptFile::new(&path);
        kept.read().unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(kept.read_text().unwrap(), "kept");
    }

    #[test]
    fn a_file_of_any_length_is_read_whole() {
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let contents: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            let (_directory, path) = file(&contents);
            assert!(KeptFile::new(&path).read().unwrap() == contents, "{length} bytes");
        }
    }

    #[test]
    fn an_error_names_the_file() {
        let (_directory, path) = file(b"\xff");
        let mut kept = KeptFile::new(&path);
        let text = kept.read_text().unwrap_err().to_string();
        assert!(text.starts_with(&format!("{}: invalid utf-8", path.display())), "{text}");
        let missing = path.with_file_name("missing");
        let text = KeptFile::new(&missing).read().unwrap_err().to_string();
        assert!(text.starts_with(&format!("{}: No such file", missing.display())), "{text}");
    }

    #[test]
    fn after_an_error_it_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("late");
        let mut kept = KeptFile::new(&path);
        kept.read().unwrap_err();
        fs::create_dir(&path).unwrap(); // can be opened, can't be read
        kept.read().unwrap_err();
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "here").unwrap();
        assert_eq!(kept.read_text().unwrap(), "here");
    }
}
