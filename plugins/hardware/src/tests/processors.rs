//! Packages, cores, threads, caches and memory.

use super::machine::{Machine, column, kind, parents, texts};
use serde_json::{Value, json};

/// Two packages of two cores with two threads each, as servers number them: the second thread of
/// a core follows after all first ones.
fn two_sockets() -> Machine {
    let machine = Machine::new();
    for cpu in 0..8 {
        let (package, core) = (cpu % 4 / 2, cpu % 2);
        let siblings = format!("{},{}", cpu % 4, cpu % 4 + 4);
        let in_package = format!(
            "{0}-{1},{2}-{3}",
            package * 2,
            package * 2 + 1,
            package * 2 + 4,
            package * 2 + 5
        );
        let caches = [
            ("L1d", "32K", siblings.as_str()),
            ("L1i", "32K", &siblings),
            ("L2", "1024K", &siblings),
            ("L3", "22528K", &in_package),
        ];
        machine.cpu(cpu, [package as i32, core as i32], &siblings, &caches);
        machine.write(&format!(
            "sys/devices/system/cpu/cpu{cpu}/node{package}/\n\
             sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_min_freq = 800000\n\
             sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq = {}",
            3_900_000 - core * 100_000
        ));
    }
    let block = |cpu| {
        format!(
            "processor\\t: {cpu}\\nvendor_id\\t: GenuineIntel\\ncpu family\\t: 6\\nmodel\\t\\t: 85\\n\
             model name\\t: Intel(R) Xeon(R) Gold 5118\\nstepping\\t: 4\\nmicrocode\\t: 0x2007006\\n\
             flags\\t\\t: fpu vme avx512f\\n\\n"
        )
        .replace("\\t", "\t")
    };
    machine.write(&format!("proc/cpuinfo = {}", (0..8).map(block).collect::<String>()));
    machine.write(
        "sys/devices/system/cpu/online = 0-7
sys/devices/system/node/node0/cpulist = 0-1,4-5
sys/devices/system/node/node0/distance = 10 21
sys/devices/system/node/node0/meminfo = Node 0 MemTotal:       97636132 kB\\nNode 0 MemFree: 1 kB
sys/devices/system/node/node1/cpulist = 2-3,6-7
sys/devices/system/node/node1/distance = 21 10
sys/class/dmi/id/sys_vendor = Dell Inc.
sys/class/dmi/id/product_name = PowerEdge R640
sys/class/dmi/id/board_name = 0W23H8
sys/class/dmi/id/bios_version = 2.4.8
proc/sys/kernel/hostname = server
proc/sys/kernel/osrelease = 6.1.0-18-amd64
proc/sys/kernel/arch = x86_64",
    );
    machine
}

#[test]
fn two_sockets_with_two_threads_a_core_form_a_tree() {
    let round = two_sockets().round();
    assert_eq!(parents(&round, "package:1"), ["host"]);
    assert_eq!(column(&round, "cores", "core"), [0, 1, 2, 3]);
    assert_eq!(parents(&round, "core:2"), ["package:1"]);
    assert_eq!(parents(&round, "thread:cpu2"), ["core:2"]);
    assert_eq!(parents(&round, "thread:cpu6"), ["core:2"]);
    let core = round.row("cores", "core", 3);
    assert_eq!(texts(&core["threads"]), ["cpu3", "cpu7"]);
    assert_eq!((&core["core_id"], &core["numa_node"]), (&json!("1"), &json!("node1")));
    assert_eq!((&core["min_mhz"], &core["max_mhz"]), (&json!(800.0), &json!(3800.0)));
}

#[test]
fn a_package_says_what_it_is() {
    let round = two_sockets().round();
    let expected = json!({
        "package": "1",
        "node": "package:1",
        "vendor": "GenuineIntel",
        "model": "Intel(R) Xeon(R) Gold 5118",
        "family": "6",
        "model_id": "85",
        "stepping": "4",
        "microcode": "0x2007006",
        "flags": ["fpu", "vme", "avx512f"],
        "core_count": 2,
        "thread_count": 4,
        "max_mhz": 3900.0,
    });
    assert_eq!(Value::Object(round.row("packages", "package", "1").clone()), expected);
    let machine = &round.rows("")[0];
    assert_eq!(machine["hostname"], "server");
    assert_eq!(
        (&machine["vendor"], &machine["product"]),
        (&json!("Dell Inc."), &json!("PowerEdge R640"))
    );
    assert_eq!((&machine["bios_version"], &machine["bios_date"]), (&json!("2.4.8"), &Value::Null));
    assert_eq!(
        (&machine["kernel"], &machine["architecture"]),
        (&json!("6.1.0-18-amd64"), &json!("x86_64"))
    );
    let counts = ["package_count", "core_count", "thread_count"].map(|name| machine[name].as_u64());
    assert_eq!(counts, [Some(2), Some(4), Some(8)]);
    assert_eq!(machine["is_virtual"], false);
}

#[test]
fn a_cache_stands_once_and_hangs_on_each_core_that_shares_it() {
    let round = two_sockets().round();
    let caches = ["L1d:0", "L1i:0", "L2:0", "L3:0", "L1d:1", "L1i:1", "L2:1"];
    assert_eq!(column(&round, "caches", "cache")[..7], caches);
    assert_eq!(round.rows("caches").len(), 4 * 3 + 2);
    assert_eq!(parents(&round, "cache:L1d:2"), ["core:2"]);
    assert_eq!(parents(&round, "cache:L3:2"), ["core:2", "core:3"]);
    let expected = json!({
        "cache": "L3:2",
        "node": "cache:L3:2",
        "level": "3",
        "type": "unified",
        "threads": ["cpu2", "cpu3", "cpu6", "cpu7"],
        "size_bytes": 22_528 * 1024,
        "line_bytes": 64,
        "ways": 8,
    });
    assert_eq!(Value::Object(round.row("caches", "cache", "L3:2").clone()), expected);
    assert_eq!(round.row("caches", "cache", "L1i:3")["type"], "instruction");
    assert_eq!(round.row("nodes", "id", "cache:L1i:3")["name"], "L1i");
}

#[test]
fn memory_and_its_numa_nodes_have_their_sizes_where_they_are_known() {
    let round = two_sockets().round();
    assert_eq!(column(&round, "memory", "total_bytes"), [16_316_412_u64 * 1024]);
    assert_eq!(parents(&round, "memory"), ["host"]);
    assert_eq!(parents(&round, "numa:node1"), ["memory"]);
    assert_eq!(
        column(&round, "numa_nodes", "total_bytes"),
        [json!(97_636_132_u64 * 1024), Value::Null]
    );
    let node = round.row("numa_nodes", "numa_node", "node1");
    assert_eq!(texts(&node["threads"]), ["cpu2", "cpu3", "cpu6", "cpu7"]);
    assert_eq!(texts(&node["distances"]), ["21", "10"]);
}

#[test]
fn small_cores_that_share_a_cache_are_its_parents() {
    // Two fast cores with two threads each, and a cluster of four slow ones.
    let machine = Machine::new();
    for cpu in 0..8 {
        let fast = cpu < 4;
        let own =
            if fast { format!("{}-{}", cpu / 2 * 2, cpu / 2 * 2 + 1) } else { cpu.to_string() };
        let cluster = if fast { own.clone() } else { "4-7".to_owned() };
        let caches =
            [("L1d", "48K", own.as_str()), ("L2", "2048K", &cluster), ("L3", "24576K", "0-7")];
        let core_id = if fast { cpu / 2 * 4 } else { cpu + 4 };
        machine.cpu(cpu, [0, core_id as i32], &own, &caches);
        let capacity = if fast { 1024 } else { 576 };
        machine.write(&format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity = {capacity}"));
    }
    machine.write("sys/devices/cpu_core/cpus = 0-3\nsys/devices/cpu_atom/cpus = 4-7");
    let round = machine.round();
    assert_eq!(column(&round, "cores", "core"), [0, 2, 4, 5, 6, 7]);
    let types = ["core", "core", "atom", "atom", "atom", "atom"];
    assert_eq!(column(&round, "cores", "core_type"), types);
    assert_eq!(column(&round, "cores", "capacity")[1..3], [1.0, 0.5625]);
    assert_eq!(parents(&round, "cache:L2:0"), ["core:0"]);
    assert_eq!(parents(&round, "cache:L2:4"), ["core:4", "core:5", "core:6", "core:7"]);
    assert_eq!(parents(&round, "cache:L3:0").len(), 6);
}

#[test]
fn cores_that_firmware_numbers_alike_stay_apart() {
    // A board with a cluster of two small cores and one of two big ones, each counted from 0.
    let machine = Machine::new();
    for cpu in 0..4 {
        machine.cpu(cpu, [0, cpu as i32 % 2], &cpu.to_string(), &[]);
        machine
            .write(&format!("sys/devices/system/cpu/cpu{cpu}/topology/cluster_id = {}", cpu / 2));
    }
    let part =
        |cpu, part| format!("processor : {cpu}\\nCPU implementer : 0x41\\nCPU part : {part}\\n\\n");
    let text = [part(0, "0xd03"), part(1, "0xd03"), part(2, "0xd08"), part(3, "0xd08")].concat();
    machine.write(&format!("proc/cpuinfo = {text}"));
    machine.write("sys/firmware/devicetree/base/model = Radxa ROCK Pi 4B\0");
    let round = machine.round();
    assert_eq!(column(&round, "cores", "core"), [0, 1, 2, 3]);
    assert_eq!(column(&round, "cores", "cluster"), ["0", "0", "1", "1"]);
    let models = ["Cortex-A53", "Cortex-A53", "Cortex-A72", "Cortex-A72"];
    assert_eq!(column(&round, "cores", "model"), models);
    assert_eq!(round.rows("")[0]["product"], "Radxa ROCK Pi 4B");
    assert_eq!(round.rows("")[0]["is_virtual"], Value::Null);
}

#[test]
fn without_the_kernel_s_lists_threads_of_one_place_form_a_core() {
    let machine = Machine::new();
    for cpu in 0..4 {
        machine.write(&format!(
            "sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id = 0\n\
             sys/devices/system/cpu/cpu{cpu}/topology/core_id = {}",
            cpu / 2
        ));
    }
    let round = machine.round();
    assert_eq!(column(&round, "cores", "core"), [0, 2]);
    assert_eq!(parents(&round, "thread:cpu3"), ["core:2"]);
}

#[test]
fn a_container_without_topology_has_what_cpuinfo_says() {
    let machine = Machine::new();
    let x86 = |cpu| {
        format!(
            "processor : {cpu}\\nmodel name : Virtual CPU\\nphysical id : 0\\ncore id : {}\\n\
             flags : fpu hypervisor\\n\\n",
            cpu / 2
        )
    };
    machine.write(&format!("proc/cpuinfo = {}{}", x86(0), x86(1)));
    let round = machine.round();
    assert_eq!(parents(&round, "thread:cpu1"), ["core:0"]);
    assert_eq!(parents(&round, "core:0"), ["package:0"]);
    assert_eq!(round.row("threads", "thread", "cpu1")["online"], true);
    assert_eq!(round.rows("")[0]["is_virtual"], true);
    assert_eq!(round.rows("packages")[0]["max_mhz"], Value::Null);
}

#[test]
fn cpus_that_tell_nothing_of_their_place_are_of_an_unknown_package() {
    let machine = Machine::new();
    machine.write("proc/cpuinfo = processor : 0\\nCPU part : 0xd0c\\n\\nprocessor : 1\\n");
    machine.write("sys/devices/system/cpu/cpu1/topology/physical_package_id = -1");
    let cache = "sys/devices/system/cpu/cpu1/cache/index0";
    machine.write(&format!("{cache}/level = 1\n{cache}/type = Data\n{cache}/size = 0K"));
    let round = machine.round();
    assert!(round.rows("cores").is_empty());
    assert_eq!(parents(&round, "thread:cpu1"), ["package:unknown"]);
    let package = round.row("packages", "package", "unknown");
    assert_eq!((&package["model"], &package["core_count"]), (&json!("0xd0c"), &Value::Null));
    assert_eq!(package["thread_count"], 2);
    assert_eq!(parents(&round, "cache:L1d:1"), ["thread:cpu1"], "for want of a core");
    assert_eq!(round.row("caches", "cache", "L1d:1")["size_bytes"], Value::Null);
}

#[test]
fn a_cpu_that_is_offline_hangs_on_the_host() {
    let machine = Machine::new();
    machine.cpu(0, [0, 0], "0", &[]);
    machine.write("sys/devices/system/cpu/cpu1/online = 0\nsys/devices/system/cpu/online = 0");
    machine.write("sys/devices/system/cpu/cpufreq/\nsys/devices/system/cpu/cpuidle/");
    let round = machine.round();
    assert_eq!(column(&round, "threads", "online"), [true, false]);
    assert_eq!(parents(&round, "thread:cpu1"), ["host"]);
    assert_eq!(round.row("threads", "thread", "cpu1")["package"], Value::Null);
    assert_eq!(round.rows("packages").len(), 1);
    assert_eq!(kind(&round, "thread:cpu1"), "thread");
}
