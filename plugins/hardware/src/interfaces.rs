//! Network interfaces (Documentation/ABI/testing/sysfs-class-net). `/sys` shows those of the
//! network namespace that it was mounted in.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use dropsonde_plugin_api::{Batch, Result};

use crate::graph;
use crate::records::Interface;
use crate::sysfs::{self, Entry};

/// Pushes the records and nodes of the interfaces.
pub(crate) fn report(proc_root: &Path, sys_root: &Path, out: &mut Batch) -> Result<()> {
    out.publish_empty::<Interface>()?;
    let vlans = sysfs::text(proc_root.join("net/vlan/config")).unwrap_or_default();
    // `bonding_masters` is a file beside the interfaces.
    let entries = sysfs::entries(sys_root.join("class/net"));
    let entries: Vec<_> = entries.into_iter().filter(|entry| entry.path.is_dir()).collect();
    let mut interfaces: Vec<_> = entries.iter().map(|entry| read(entry, &vlans)).collect();
    complete_lower(&mut interfaces, &entries);
    for interface in interfaces {
        let kind = match interface.r#type.as_deref() {
            Some("bridge") => "bridge",
            Some("bond") => "bond",
            Some("vlan") => "vlan",
            _ => "interface",
        };
        let parents = interface.lower.iter().map(|lower| graph::interface(lower)).collect();
        let name = interface.interface.clone();
        graph::add(out, interface.node.clone(), kind, name, parents)?;
        out.push(interface)?;
    }
    Ok(())
}

fn read(entry: &Entry, vlans: &str) -> Interface {
    let Entry { name, path } = entry;
    let text = |attribute: &str| sysfs::text(path.join(attribute));
    let is_virtual = !path.join("device").exists();
    let state = text("operstate");
    // Some drivers keep the last speed of a link that is gone, or make one up.
    let has_link = !is_virtual && state.as_deref() == Some("up");
    let lower = sysfs::entries(path)
        .into_iter()
        .filter_map(|entry| entry.name.strip_prefix("lower_").map(str::to_owned));
    Interface {
        interface: name.clone(),
        node: graph::interface(name),
        r#type: interface_type(path),
        is_virtual,
        driver: sysfs::link_name(path.join("device/driver")),
        device: sysfs::link_name(path.join("device")),
        numa_node: sysfs::identifier(path.join("device/numa_node"))
            .map(|number| format!("node{number}")),
        mac: text("address"),
        duplex: text("duplex").filter(|duplex| has_link && duplex != "unknown"),
        state,
        master: sysfs::link_name(path.join("master")),
        lower: lower.collect(),
        // `802.3ad 4`
        bond_mode: text("bonding/mode").and_then(|mode| mode.split(' ').next().map(str::to_owned)),
        vlan_id: vlan_id(vlans, name),
        alias: text("ifalias"),
        mtu_bytes: sysfs::number(path.join("mtu")),
        speed_bits_per_second: if has_link { speed(path) } else { None },
    }
}

/// What the driver calls itself; otherwise what its files and its link layer show.
fn interface_type(path: &Path) -> Option<String> {
    let uevent = sysfs::text(path.join("uevent")).unwrap_or_default();
    if let Some(own) = uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        return Some(own.to_owned());
    }
    let by_file = [("bridge", "bridge"), ("bonding", "bond"), ("phy80211", "wlan")]
        .into_iter()
        .find(|(file, _)| path.join(file).exists())
        .map(|(_, name)| name);
    let name = by_file.or_else(|| tun_type(path)).or_else(|| {
        // linux/if_arp.h
        Some(match sysfs::number::<u32>(path.join("type"))? {
            1 => "ethernet",
            32 => "infiniband",
            280 => "can",
            512 => "ppp",
            768 | 769 | 776 | 778 | 823 => "tunnel",
            772 => "loopback",
            _ => return None,
        })
    });
    name.map(str::to_owned)
}

/// A tun or tap device has flags: IFF_TUN is 1, IFF_TAP 2 (linux/if_tun.h).
fn tun_type(path: &Path) -> Option<&'static str> {
    let flags = sysfs::text(path.join("tun_flags"))?;
    let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
    if flags & 1 != 0 { Some("tun") } else { (flags & 2 != 0).then_some("tap") }
}

/// The attribute is in Mbit/s; an unknown speed is -1, as a number without sign in some kernels.
fn speed(path: &Path) -> Option<u64> {
    let megabits: u64 = sysfs::number(path.join("speed"))?;
    (megabits > 0 && megabits < u64::from(u32::MAX)).then(|| megabits * 1_000_000)
}

/// Of lines `eth0.5 | 5 | eth0` (net/8021q/vlanproc.c).
fn vlan_id(config: &str, name: &str) -> Option<String> {
    config.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        (columns.next() == Some(name)).then(|| columns.next().map(str::to_owned))?
    })
}

/// Adds what bonds and ports say, should a kernel lack the links from the other side. Of what is
/// not in this namespace nothing is said.
fn complete_lower(interfaces: &mut [Interface], entries: &[Entry]) {
    let mut pairs = BTreeSet::new();
    for (interface, Entry { path, .. }) in interfaces.iter().zip(entries) {
        let name = &interface.interface;
        let slaves = sysfs::text(path.join("bonding/slaves")).unwrap_or_default();
        let below = interface.lower.iter().map(String::as_str).chain(slaves.split_whitespace());
        pairs.extend(below.map(|lower| (name.clone(), lower.to_owned())));
        pairs.extend(interface.master.clone().map(|upper| (upper, name.clone())));
    }
    let positions: HashMap<_, _> = interfaces
        .iter()
        .enumerate()
        .map(|(position, interface)| (interface.interface.clone(), position))
        .collect();
    interfaces.iter_mut().for_each(|interface| interface.lower.clear());
    for (upper, lower) in pairs {
        if let (Some(upper), true) = (positions.get(&upper), positions.contains_key(&lower)) {
            interfaces[*upper].lower.push(lower);
        }
    }
    for interface in interfaces {
        interface.lower.sort_by_key(|lower| positions.get(lower));
    }
}
