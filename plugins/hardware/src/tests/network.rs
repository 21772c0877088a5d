//! Interfaces and what they lie on.

use super::machine::{Machine, column, kind, parents, texts};
use serde_json::{Value, json};

fn server() -> Machine {
    Machine::with(include_str!("../../fixtures/network.txt"))
}

#[test]
fn an_interface_says_what_it_is() {
    let round = server().round();
    let expected = json!({
        "interface": "eth0",
        "node": "interface:eth0",
        "type": "ethernet",
        "is_virtual": false,
        "driver": "ixgbe",
        "device": "0000:00:03.0",
        "numa_node": "node0",
        "mac": "3c:fd:fe:00:00:01",
        "state": "up",
        "duplex": "full",
        "master": "bond0",
        "lower": [],
        "bond_mode": null,
        "vlan_id": null,
        "alias": "uplink a",
        "mtu_bytes": 9000,
        "speed_bits_per_second": 10_000_000_000_u64,
    });
    assert_eq!(Value::Object(round.row("interfaces", "interface", "eth0").clone()), expected);
    let names = [
        "bond0",
        "bond0.100",
        "br0",
        "eth0",
        "eth1",
        "lo",
        "mac0",
        "tap0",
        "tun0",
        "veth1a",
        "wlan0",
    ];
    let mut found = column(&round, "interfaces", "interface");
    found.sort_by_key(|name| name.as_str().unwrap().to_owned());
    assert_eq!(found, names, "and not the file `bonding_masters`");
}

#[test]
fn only_a_device_that_is_up_has_a_speed() {
    let round = server().round();
    for interface in ["lo", "eth1", "bond0", "bond0.100", "br0", "veth1a", "wlan0"] {
        let row = round.row("interfaces", "interface", interface);
        assert_eq!(row["speed_bits_per_second"], Value::Null, "{interface}");
        assert_eq!(row["duplex"], Value::Null, "{interface}");
    }
    let machine = server();
    for unknown in ["-1", "4294967295", "0", "fast", ""] {
        machine.write(&format!("sys/class/net/eth0/speed = {unknown}"));
        let round = machine.round();
        let row = round.row("interfaces", "interface", "eth0");
        assert_eq!(row["speed_bits_per_second"], Value::Null, "{unknown}");
    }
}

#[test]
fn bond_vlan_and_bridge_lie_on_their_interfaces() {
    let round = server().round();
    assert_eq!(parents(&round, "interface:eth0"), ["host"]);
    assert_eq!(parents(&round, "interface:bond0"), ["interface:eth0", "interface:eth1"]);
    assert_eq!(parents(&round, "interface:bond0.100"), ["interface:bond0"]);
    let mut ports = parents(&round, "interface:br0");
    ports.sort_unstable();
    assert_eq!(ports, ["interface:bond0.100", "interface:veth1a"]);
    let kinds = ["bond0", "bond0.100", "br0", "eth0", "veth1a"]
        .map(|name| kind(&round, &format!("interface:{name}")).to_owned());
    assert_eq!(kinds, ["bond", "vlan", "bridge", "interface", "interface"]);
    assert_eq!(round.row("interfaces", "interface", "bond0")["bond_mode"], "802.3ad");
    assert_eq!(round.row("interfaces", "interface", "bond0.100")["vlan_id"], "100");
}

#[test]
fn what_is_in_another_namespace_is_not_spoken_of() {
    let round = server().round();
    assert_eq!(parents(&round, "interface:mac0"), ["host"]);
    assert!(texts(&round.row("interfaces", "interface", "mac0")["lower"]).is_empty());
}

#[test]
fn each_type_is_the_kernel_s_word_for_it() {
    let round = server().round();
    for (interface, kind) in [
        ("lo", "loopback"),
        ("eth0", "ethernet"),
        ("bond0", "bond"),
        ("br0", "bridge"),
        ("wlan0", "wlan"),
        ("tap0", "tap"),
        ("tun0", "tun"),
    ] {
        assert_eq!(round.row("interfaces", "interface", interface)["type"], kind, "{interface}");
    }
    let machine = Machine::with("sys/class/net/x0/type = 65534\nsys/class/net/y0/");
    assert_eq!(column(&machine.round(), "interfaces", "type"), [Value::Null, Value::Null]);
    assert_eq!(column(&machine.round(), "interfaces", "is_virtual"), [true, true]);
}
