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
