//! Machines made of files.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Value, json};

use crate::HardwareCollector;

/// A root with `proc` and `sys` in it.
pub(super) struct Machine(tempfile::TempDir);

impl Machine {
    /// A machine of which nothing is known but that it is there.
    pub(super) fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.write(
            "sys/\nproc/cpuinfo =\nproc/meminfo = MemTotal:  16316412 kB\nproc/self/mountinfo =",
        );
        machine
    }

    /// A machine with what a fixture describes.
    pub(super) fn with(fixture: &str) -> Self {
        let machine = Self::new();
        machine.write(fixture);
        machine
    }

    /// Adds what the lines describe; `fixtures/README.md` has their form.
    pub(super) fn write(&self, lines: &str) {
        for line in lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some((path, contents)) = line.split_once(" =") {
                let contents = contents.strip_prefix(' ').unwrap_or(contents);
                self.file(path, contents.replace("\\n", "\n") + "\n");
            } else if let Some((path, target)) = line.split_once(" -> ") {
                symlink(target, self.place(path)).unwrap();
            } else {
                fs::create_dir_all(self.path(line)).unwrap();
            }
        }
    }

    pub(super) fn file(&self, path: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.place(path), contents).unwrap();
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The path, in a directory that is there.
    fn place(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Adds a CPU that is online, with the CPUs of its core, and caches by name, size and CPUs.
    pub(super) fn cpu(
        &self,
        number: u32,
        place: [i32; 2],
        siblings: &str,
        caches: &[(&str, &str, &str)],
    ) {
        let directory = format!("sys/devices/system/cpu/cpu{number}");
        let [package, core] = place;
        self.write(&format!(
            "{directory}/topology/physical_package_id = {package}\n\
             {directory}/topology/core_id = {core}\n\
             {directory}/topology/thread_siblings_list = {siblings}"
        ));
        for (index, (name, size, sharers)) in caches.iter().enumerate() {
            let kind = match name.as_bytes().get(2) {
                Some(b'd') => "Data",
                Some(b'i') => "Instruction",
                _ => "Unified",
            };
            let level = &name[1..2];
            self.write(&format!(
                "{directory}/cache/index{index}/level = {level}\n\
                 {directory}/cache/index{index}/type = {kind}\n\
                 {directory}/cache/index{index}/size = {size}\n\
                 {directory}/cache/index{index}/coherency_line_size = 64\n\
                 {directory}/cache/index{index}/ways_of_associativity = 8\n\
                 {directory}/cache/index{index}/shared_cpu_list = {sharers}"
            ));
        }
    }

    pub(super) fn collector(&self) -> Harness<HardwareCollector> {
        let settings = json!({ "proc_root": self.path("proc"), "sys_root": self.path("sys") });
        Harness::new(settings).unwrap()
    }

    /// One round of which nothing is missing, with a graph that is sound.
    #[track_caller]
    pub(super) fn round(&self) -> Round {
        let round = self.collector().collect().unwrap();
        assert!(round.partial.is_empty(), "{:?}", round.partial);
        check_graph(&round);
        round
    }
}

/// Each id stands once, each parent is there, all hangs on the host, and each record's node is
/// there.
#[track_caller]
pub(super) fn check_graph(round: &Round) {
    let nodes = round.rows("nodes");
    let mut known = HashSet::new();
    for node in nodes {
        assert!(known.insert(node["id"].as_str().unwrap()), "{node:?} stands twice");
    }
    for node in nodes {
        let parents = texts(&node["parents"]);
        assert!(parents.iter().all(|parent| known.contains(parent)), "{node:?}: {nodes:#?}");
        assert_eq!(parents.is_empty(), node["id"] == "host", "{node:?}");
    }
    let mut of_records = 0;
    for record in round.streams().filter(|name| *name != "nodes").flat_map(|name| round.rows(name))
    {
        assert!(known.contains(record["node"].as_str().unwrap()), "{record:?}");
        of_records += 1;
    }
    assert_eq!(of_records, nodes.len(), "a record for each node");
}

/// The ids that a node hangs on.
#[track_caller]
pub(super) fn parents<'a>(round: &'a Round, id: &str) -> Vec<&'a str> {
    texts(&round.row("nodes", "id", id)["parents"])
}

/// The kind of a node.
#[track_caller]
pub(super) fn kind<'a>(round: &'a Round, id: &str) -> &'a str {
    round.row("nodes", "id", id)["kind"].as_str().unwrap()
}

/// A list of texts.
#[track_caller]
pub(super) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// One column of a stream.
pub(super) fn column(round: &Round, stream: &str, column: &str) -> Vec<Value> {
    round.rows(stream).iter().map(|row| row[column].clone()).collect()
}
