//! A procfs whose processes come and go as a test says.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A directory with a `stat` of its own and processes.
pub(super) struct Tree(TempDir);

/// What a process's `stat` says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) name: &'a [u8],
    pub(super) cpu: u64,
    pub(super) threads: u64,
    pub(super) start: u64,
    pub(super) pages: u64,
}

impl Default for Fields<'_> {
    fn default() -> Self {
        Self { name: b"a", cpu: 0, threads: 1, start: 1, pages: 0 }
    }
}

impl Tree {
    /// A machine whose CPUs have counted so many ticks.
    pub(super) fn new(cpu: u64) -> Self {
        let tree = Self(TempDir::new().unwrap());
        tree.tick(cpu);
        tree
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Sets what all CPUs have counted.
    pub(super) fn tick(&self, cpu: u64) {
        let text = format!("cpu  {cpu} 0 0 0 0 0 0 0 0 0\nbtime 1000\nprocesses 9\n");
        fs::write(self.root().join("stat"), text).unwrap();
    }

    /// Makes a process, or replaces it.
    pub(super) fn put(&self, pid: u32, fields: Fields<'_>) {
        let Fields { name, cpu, threads, start, pages } = fields;
        let rest = format!(
            ") S 1 0 0 0 -1 0 0 0 0 0 {cpu} 0 0 0 20 0 {threads} 0 {start} 0 {pages} 0 0 0 0\n"
        );
        let line = [format!("{pid} (").as_bytes(), name, rest.as_bytes()].concat();
        self.file(pid, "stat", line);
    }

    /// Gives a process another file.
    pub(super) fn file(&self, pid: u32, name: &str, text: impl AsRef<[u8]>) {
        let directory = self.root().join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    pub(super) fn io(&self, pid: u32, read: u64, write: u64) {
        let text = format!("syscr: 1\nsyscw: 2\nread_bytes: {read}\nwrite_bytes: {write}\n");
        self.file(pid, "io", text);
    }

    /// Takes a file of a process away.
    pub(super) fn lose(&self, pid: u32, name: &str) {
        fs::remove_file(self.root().join(format!("{pid}/{name}"))).unwrap();
    }

    /// Ends a process.
    pub(super) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.root().join(pid.to_string())).unwrap();
    }
}
