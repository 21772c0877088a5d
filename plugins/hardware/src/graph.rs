//! How the parts hang together: a graph that leads from the host down.
//!
//! An edge leads from a part to what is in it or lies on it: from a package to its cores, from a
//! disk to its partitions, from an interface to the bridge that it is a port of.

use dropsonde_plugin_api::{Batch, Record, Result};

/// The id of the node that all others hang on.
pub(crate) const HOST: &str = "host";
/// The id of the memory as a whole.
pub(crate) const MEMORY: &str = "memory";

/// One part of the machine, and what it hangs on.
#[derive(Debug, Record)]
#[record(stream = "nodes")]
pub(crate) struct Node {
    /// Names the node; the records about it in other streams hold it in `node`.
    #[key]
    id: String,
    /// What it is: `host`, `package`, `core`, `thread`, `cache`, `memory`, `numa_node`, `disk`,
    /// `path`, `volume`, `partition`, `mount`, `interface`, `bridge`, `bond` or `vlan`.
    #[attribute]
    kind: &'static str,
    /// What people call it.
    #[attribute]
    name: String,
    /// The ids of the nodes that it is part of or lies on.
    #[attribute]
    parents: Vec<String>,
}

pub(crate) fn package(package: &str) -> String {
    format!("package:{package}")
}

pub(crate) fn core(core: u32) -> String {
    format!("core:{core}")
}

pub(crate) fn thread(number: u32) -> String {
    format!("thread:cpu{number}")
}

pub(crate) fn cache(cache: &str) -> String {
    format!("cache:{cache}")
}

pub(crate) fn numa_node(name: &str) -> String {
    format!("numa:{name}")
}

/// Disks, volumes and partitions alike: the kernel gives a name to one of them only.
pub(crate) fn block(name: &str) -> String {
    format!("block:{name}")
}

pub(crate) fn mount(mount_point: &str) -> String {
    format!("mount:{mount_point}")
}

pub(crate) fn interface(name: &str) -> String {
    format!("interface:{name}")
}

/// Adds a node. One that hangs on nothing else hangs on the host.
pub(crate) fn add(
    out: &mut Batch,
    id: impl Into<String>,
    kind: &'static str,
    name: impl Into<String>,
    mut parents: Vec<String>,
) -> Result<()> {
    let id = id.into();
    if parents.is_empty() && id != HOST {
        parents.push(HOST.to_owned());
    }
    out.push(Node { id, kind, name: name.into(), parents })
}
