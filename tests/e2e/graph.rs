//! The graph of a collector at `/api/v1/COLLECTOR`: of the bundled one, on the live system, and
//! in a network namespace of the agent's own.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dropsonde_tests::{Agent, PATIENCE, binary, fixture, plugin, skipped, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// Nodes by id, and edges, of a graph that is sound: each edge has its nodes, and all hang on the
/// host.
#[track_caller]
fn sound(graph: &Value) -> (HashMap<&str, &Value>, HashSet<(&str, &str)>) {
    assert_eq!(graph["problems"].as_array().map(Vec::len), Some(0), "{graph:#}");
    let nodes = graph["nodes"].as_array().unwrap().iter();
    let nodes: HashMap<_, _> = nodes.map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let edges = graph["edges"].as_array().unwrap().iter();
    let edges: HashSet<_> =
        edges.map(|edge| (edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap())).collect();
    let mut reached = HashSet::from(["host"]);
    loop {
        let before = reached.len();
        let next: Vec<_> = edges.iter().filter(|(from, _)| reached.contains(from)).collect();
        reached.extend(next.iter().map(|(_, to)| *to));
        if reached.len() == before {
            break;
        }
    }
    let known: HashSet<_> = nodes.keys().copied().collect();
    assert_eq!(reached, known);
    (nodes, edges)
}

#[test]
fn a_collector_that_is_dropped_in_serves_its_graph() {
    let agent = Agent::start("");
    assert_eq!(agent.page("/api/v1/hardware").0, 404);
    agent.put("libdropsonde_hardware.so", &fs::read(plugin("hardware")).unwrap());
    let collector = agent.running("hardware");
    assert_eq!(collector["interval_seconds"], 300.0, "its own");
    let graph = agent.json("/api/v1/hardware");
    let (nodes, edges) = sound(&graph);
    assert_eq!(nodes["host"]["kind"], "host");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(nodes["host"]["kernel"], kernel.trim(), "of the record about the host");
    assert!(nodes["memory"]["total_bytes"].as_u64() > Some(0));
    assert!(edges.contains(&("host", "memory")));
    assert!(nodes.contains_key("thread:cpu0"));
    let age = graph["age_seconds"].as_f64().unwrap();
    assert!((0.0..300.0).contains(&age), "{age}");
    assert!(graph["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_graph_is_of_the_last_read_unless_a_fresher_one_is_asked_for() {
    let agent =
        Agent::with_plugins("[collectors.hardware]\ninterval = \"1h\"\n", &[&plugin("hardware")]);
    agent.running("hardware");
    let batches = || agent.collector("hardware").unwrap()["batches"].as_u64().unwrap();
    let first = batches();
    let timestamp = agent.json("/api/v1/hardware")["timestamp"].clone();
    for _ in 0..10 {
        assert_eq!(agent.json("/api/v1/hardware?max_age=1h")["timestamp"], timestamp);
        assert_eq!(agent.json("/api/v1/hardware")["timestamp"], timestamp);
    }
    assert_eq!(batches(), first, "nothing was read for it");
    assert_ne!(agent.json("/api/v1/hardware?max_age=0s")["timestamp"], timestamp);
    assert_eq!(batches(), first * 2, "one round");
    assert_eq!(agent.page("/api/v1/hardware?max_age=soon").0, 400);
    assert_eq!(agent.page("/api/v1/hardware?maxage=1s").0, 400);
}

#[test]
fn a_graph_stands_at_the_name_of_its_collector() {
    let config = "[collectors.inventory]\nplugin = \"hardware\"\n";
    let agent = Agent::with_plugins(config, &[&plugin("hardware")]);
    agent.running("inventory");
    sound(&agent.json("/api/v1/inventory"));
    assert_eq!(agent.page("/api/v1/hardware").0, 404);
}

#[test]
fn what_has_no_graph_says_what_it_lacks() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let (code, text) = agent.page("/api/v1/steady");
    assert_eq!(code, 404);
    assert!(text.contains("`steady` has no graph") && text.contains("`parents`"), "{text}");
    let (code, text) = agent.page("/api/v1/nonsense");
    assert_eq!(code, 404);
    assert!(text.contains("/api/v1/COLLECTOR"), "{text}");
}

#[test]
fn parts_that_are_not_there_are_missing_and_cost_nothing_else() {
    // A fixture's root has no interfaces, and of CPUs only what cpuinfo says.
    let config =
        "[collectors.hardware.settings]\nproc_root = \"{root}/proc\"\nsys_root = \"{root}/sys\"\n";
    let agent = Agent::start(config);
    fs::create_dir_all(agent.root().join("sys")).unwrap();
    fs::create_dir_all(agent.root().join("proc/self")).unwrap();
    fs::write(agent.root().join("proc/cpuinfo"), "processor : 0\nmodel name : X\n").unwrap();
    fs::write(agent.root().join("proc/meminfo"), "").unwrap();
    fs::write(agent.root().join("proc/self/mountinfo"), "").unwrap();
    agent.put("libdropsonde_hardware.so", &fs::read(plugin("hardware")).unwrap());
    let collector = agent.running("hardware");
    assert_eq!(collector["last_error"], Value::Null, "{collector:#}");
    let graph = agent.json("/api/v1/hardware");
    let (nodes, _) = sound(&graph);
    assert_eq!(nodes.len(), 4, "{graph:#}");
    assert_eq!(nodes["package:unknown"]["model"], "X");
    assert_eq!(nodes["memory"]["total_bytes"], Value::Null);
}

#[test]
fn a_graph_that_was_never_delivered_says_where_to_look() {
    let config = "[collectors.hardware.settings]\nproc_root = \"/gone\"\nsys_root = \"/gone\"\n";
    let agent = Agent::with_plugins(config, &[&plugin("hardware")]);
    agent.until("hardware", "failed", |now| now["last_error"].is_string());
    let (code, text) = agent.page("/api/v1/hardware");
    assert_eq!(code, 503);
    assert!(text.contains("`hardware`") && text.contains("/api/v1/collectors"), "{text}");
}

/// Makes interfaces in a network namespace, and becomes the agent there. `/sys` shows the
/// namespace that it was mounted in, so it is mounted anew, for this process alone.
const IN_A_NAMESPACE: &str = r#"
mount -t sysfs sysfs /sys
ip link add br0 type bridge
ip link add port0 type veth peer name port1
ip link set port0 master br0
for kind in bond vlan macvlan vxlan; do
  case $kind in
    bond) ip link add bond0 type bond && ip link set port1 master bond0 ;;
    vlan) ip link add link br0 name br0.7 type vlan id 7 ;;
    macvlan) ip link add link br0 name mac0 type macvlan ;;
    vxlan) ip link add vx0 type vxlan id 7 dstport 0 dev br0 ;;
  esac 2>/dev/null || echo $kind >> "$1/lacking"
done
ip -d -j link > "$1/links"
exec "$2" run --listen "unix:$1/api.sock" --plugins "$1/plugins"
"#;

/// An agent that ends with the test.
struct InNamespace {
    child: Child,
    directory: TempDir,
}

impl InNamespace {
    /// `None` where no namespace or no bridge may be made.
    fn start() -> Option<Self> {
        let trial = Command::new("unshare")
            .args(["-n", "-m", "sh", "-ec"])
            .arg("mount -t sysfs sysfs /sys; ip link add br0 type bridge; ip -d -j link")
            .output();
        match trial {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                skipped(format!("no network namespace with a bridge: {}", why.trim()));
                return None;
            }
            Err(error) => {
                skipped(format!("no unshare(1): {error}"));
                return None;
            }
        }
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("plugins")).unwrap();
        fs::copy(plugin("hardware"), root.join("plugins/a.so")).unwrap();
        let mut child = Command::new("unshare")
            .args(["-n", "-m", "sh", "-ec", IN_A_NAMESPACE, "sh"])
            .arg(root)
            .arg(binary())
            .env("DROPSONDE__HOST__RUNTIME_DIR", root)
            .env("DROPSONDE__HOST__STATE_DIR", root)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}"))
        });
        Some(Self { child, directory })
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The graph, once it is there.
    fn graph(&self) -> Value {
        wait_for("the graph", || {
            let mut stream = UnixStream::connect(self.root().join("api.sock")).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            write!(stream, "GET /api/v1/hardware HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            head.starts_with("HTTP/1.0 200").then(|| serde_json::from_str(body).unwrap())
        })
    }
}

impl Drop for InNamespace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn bridge_bond_and_vlan_in_the_agent_s_namespace_are_edges() {
    let Some(agent) = InNamespace::start() else { return };
    let graph = agent.graph();
    let (nodes, edges) = sound(&graph);
    for lacking in fs::read_to_string(agent.root().join("lacking")).unwrap_or_default().lines() {
        skipped(format!("the kernel has no {lacking}: its edge is shown by a fixture alone"));
    }
    let links = fs::read_to_string(agent.root().join("links")).unwrap();
    let links: Value = serde_json::from_str(&links).unwrap();
    let mut names = HashSet::new();
    for link in links.as_array().unwrap() {
        let id = format!("interface:{}", link["ifname"].as_str().unwrap());
        let node = nodes.get(id.as_str()).unwrap_or_else(|| panic!("{id}: {graph:#}"));
        let kind = link["linkinfo"]["info_kind"].as_str().unwrap_or_default();
        let expected = if ["bridge", "bond", "vlan"].contains(&kind) { kind } else { "interface" };
        assert_eq!(node["kind"], expected, "{id}");
        if let Some(master) = link["master"].as_str() {
            let edge = (id.clone(), format!("interface:{master}"));
            assert!(edges.contains(&(edge.0.as_str(), edge.1.as_str())), "{edge:?}: {graph:#}");
        }
        // The link of a veth is its other end, on which it does not lie.
        let lower = link["link"].as_str().or(link["linkinfo"]["info_data"]["link"].as_str());
        if let Some(lower) = lower.filter(|_| kind != "veth") {
            let edge = (format!("interface:{lower}"), id.clone());
            assert!(edges.contains(&(edge.0.as_str(), edge.1.as_str())), "{edge:?}: {graph:#}");
        }
        names.insert(id);
    }
    assert!(edges.contains(&("interface:port0", "interface:br0")), "{graph:#}");
    let shown: HashSet<_> =
        nodes.keys().filter(|id| id.starts_with("interface:")).map(ToString::to_string).collect();
    assert_eq!(shown, names, "of this namespace, and of no other");
}
