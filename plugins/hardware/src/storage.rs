//! Disks, partitions, and the file systems on them.

use std::collections::HashMap;
use std::path::Path;

use dropsonde_plugin_api::{Batch, Error, Result};

use crate::block::{self, Device};
use crate::graph;
use crate::mountinfo;
use crate::records::{Disk, Mount, Partition};

/// Pushes the records and nodes of the block devices, and of what is mounted on them.
pub(crate) fn report(proc_root: &Path, sys_root: &Path, out: &mut Batch) -> Result<()> {
    out.publish_empty::<Disk>()?;
    out.publish_empty::<Partition>()?;
    let devices = block::read(sys_root);
    let names = Names::of(&devices);
    for Device { disk, kind, partitions } in devices {
        let lower = disk.lower.iter().filter(|lower| names.has(lower));
        let parents = lower.map(|lower| graph::block(lower)).collect();
        graph::add(out, disk.node.clone(), kind, disk.disk.clone(), parents)?;
        let disk_node = disk.node.clone();
        out.push(disk)?;
        for partition in partitions {
            let Partition { node, partition: name, .. } = &partition;
            let parents = vec![disk_node.clone()];
            graph::add(out, node.clone(), "partition", name.clone(), parents)?;
            out.push(partition)?;
        }
    }
    report_mounts(proc_root, &names, out)
}

fn report_mounts(proc_root: &Path, names: &Names, out: &mut Batch) -> Result<()> {
    let path = proc_root.join("self/mountinfo");
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            out.partial(Error::from(error).context(path.display()));
            return Ok(());
        }
    };
    out.publish_empty::<Mount>()?;
    let (lines, malformed) = mountinfo::parse(&text);
    for line in malformed {
        out.partial(format_args!("{}: line {line}: malformed", path.display()));
    }
    for line in lines {
        let Some(device) = names.device(&line.number, &line.source) else { continue };
        let node = graph::mount(&line.mount_point);
        let parents = vec![graph::block(device)];
        graph::add(out, node.clone(), "mount", line.mount_point.clone(), parents)?;
        out.push(Mount {
            mount_point: line.mount_point,
            node,
            device: device.to_owned(),
            source: line.source,
            fs_type: line.fs_type,
            root: line.root,
            read_only: line.read_only,
        })?;
    }
    Ok(())
}

/// The kernel's names of the devices, by what mounts call them.
#[derive(Default)]
struct Names {
    by_number: HashMap<String, String>,
    by_path: HashMap<String, String>,
}

impl Names {
    fn of(devices: &[Device]) -> Self {
        let mut names = Self::default();
        for Device { disk, partitions, .. } in devices {
            names.add(&disk.disk, disk.number.as_deref());
            if let Some(mapped) = &disk.mapped_name {
                names.by_path.insert(format!("/dev/mapper/{mapped}"), disk.disk.clone());
            }
            for partition in partitions {
                names.add(&partition.partition, partition.number.as_deref());
            }
        }
        names
    }

    fn add(&mut self, name: &str, number: Option<&str>) {
        self.by_path.insert(format!("/dev/{name}"), name.to_owned());
        if let Some(number) = number {
            self.by_number.insert(number.to_owned(), name.to_owned());
        }
    }

    fn has(&self, name: &str) -> bool {
        self.by_path.contains_key(&format!("/dev/{name}"))
    }

    /// By the number; where that is no device's, by what was named in the mount.
    fn device(&self, number: &str, source: &str) -> Option<&str> {
        self.by_number.get(number).or_else(|| self.by_path.get(source)).map(String::as_str)
    }
}
