use std::time::SystemTime;

use dropsonde_plugin_api::Column;
use dropsonde_plugin_api::schema::{ColumnSchema, StreamSchema};

use super::*;
use crate::model::{ColumnData, Read};

fn info(name: &str, kind: StreamKind, columns: &[ColumnSchema]) -> StreamInfo {
    let schema = StreamSchema {
        name: name.into(),
        kind,
        description: String::new(),
        columns: columns.to_vec(),
    };
    StreamInfo::new(&"c".into(), &"c".into(), schema)
}

fn batch(info: StreamInfo, read_at: u64, rows: usize, columns: &[Column]) -> Arc<Batch> {
    let read = Read {
        generation: 1,
        sequence: 1,
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(read_at),
        monotonic: Duration::from_secs(read_at),
        due: Duration::from_secs(read_at),
    };
    Arc::new(Batch::new(Arc::new(info), read, rows, columns.iter().map(ColumnData::from).collect()))
}

fn shape() -> [ColumnSchema; 3] {
    [
        ColumnSchema::new("id", Role::Key, ValueType::Text),
        ColumnSchema::new("kind", Role::Attribute, ValueType::Text),
        ColumnSchema::new("parents", Role::Attribute, ValueType::TextList),
    ]
}

/// Nodes by id, kind and parents.
fn nodes(rows: &[(&str, &str, &[&str])]) -> Arc<Batch> {
    let shape = shape();
    let mut columns = shape.each_ref().map(|column| Column::new(column.value));
    for (id, kind, parents) in rows {
        columns[0].push_text(id);
        columns[1].push_text(kind);
        columns[2].push_list(parents.iter().copied());
    }
    batch(info("nodes", StreamKind::Snapshot, &shape), 100, rows.len(), &columns)
}

/// Sizes of nodes, in a stream of their own.
fn sizes(rows: &[(&str, Option<u64>)]) -> Arc<Batch> {
    let shape = [
        ColumnSchema::new("disk", Role::Key, ValueType::Text),
        ColumnSchema::new("node", Role::Attribute, ValueType::Text),
        ColumnSchema::new("kind", Role::Attribute, ValueType::Text),
        ColumnSchema::new("size_bytes", Role::Gauge, ValueType::U64),
    ];
    let mut columns = shape.each_ref().map(|column| Column::new(column.value));
    for (node, size) in rows {
        columns[0].push_text("sda");
        columns[1].push_text(node);
        columns[2].push_text("of another stream");
        match size {
            Some(size) => columns[3].push_u64(*size),
            None => columns[3].push_null(),
        }
    }
    batch(info("disks", StreamKind::Snapshot, &shape), 90, rows.len(), &columns)
}

fn graph_of(batches: &[Arc<Batch>]) -> Json {
    graph(batches, Duration::from_millis(107_500)).unwrap()
}

fn edges(graph: &Json) -> Vec<(&str, &str)> {
    graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap()))
        .collect()
}

#[test]
fn an_edge_leads_from_each_parent_to_its_node() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("host", "host", &[]),
        ("bridge", "bridge", &["eth0", "eth1", "eth0"]),
        ("eth0", "interface", &["host"]),
        ("eth1", "interface", &["host"]),
    ];
    let graph = graph_of(&[nodes(rows)]);
    let expected = [("eth0", "bridge"), ("eth1", "bridge"), ("host", "eth0"), ("host", "eth1")];
    assert_eq!(edges(&graph), expected);
    assert_eq!(graph["nodes"][1], json!({ "id": "bridge", "kind": "bridge" }));
    assert_eq!(graph["problems"], json!([]));
    assert_eq!(graph["timestamp"], "1970-01-01T00:01:40.000Z");
    assert_eq!(graph["age_seconds"], 7.5);
}

#[test]
fn a_parent_that_is_not_there_costs_its_edge_and_is_named() {
    let graph = graph_of(&[nodes(&[("a", "x", &["gone", "b"]), ("b", "x", &[])])]);
    assert_eq!(edges(&graph), [("b", "a")]);
    assert_eq!(graph["problems"], json!(["the node `a` hangs on `gone`, which is not there"]));
}

#[test]
fn of_a_node_that_stands_twice_the_first_one_counts() {
    let rows: &[(&str, &str, &[&str])] =
        &[("a", "first", &[]), ("b", "x", &[]), ("a", "second", &["b"])];
    let graph = graph_of(&[nodes(rows)]);
    assert_eq!(graph["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(graph["nodes"][0]["kind"], "first");
    assert!(edges(&graph).is_empty());
    assert_eq!(graph["problems"], json!(["the node `a` stands twice; the first one counts"]));
}

#[test]
fn a_cycle_loses_the_edge_that_closes_it() {
    let rows: &[(&str, &str, &[&str])] =
        &[("a", "x", &["b"]), ("b", "x", &["c"]), ("c", "x", &["a", "d"]), ("d", "x", &["d"])];
    let graph = graph_of(&[nodes(rows)]);
    assert_eq!(edges(&graph), [("b", "a"), ("c", "b"), ("d", "c")]);
    let expected =
        ["the edge from `a` to `c` closes a cycle", "the edge from `d` to `d` closes a cycle"];
    assert_eq!(graph["problems"], json!(expected));
}

#[test]
fn two_ways_to_a_node_are_no_cycle() {
    let rows: &[(&str, &str, &[&str])] =
        &[("top", "x", &["l", "r"]), ("l", "x", &["low"]), ("r", "x", &["low"]), ("low", "x", &[])];
    let graph = graph_of(&[nodes(rows)]);
    assert_eq!(edges(&graph).len(), 4);
    assert_eq!(graph["problems"], json!([]));
}

#[test]
fn a_chain_as_long_as_a_batch_may_be_is_walked() {
    let names: Vec<_> = (0..crate::model::MAX_ROWS).map(|index| index.to_string()).collect();
    let parents: Vec<_> = names.iter().skip(1).map(|name| [name.as_str()]).collect();
    let none: &[&str] = &[];
    let parents = parents.iter().map(<[_; 1]>::as_slice).chain([none]);
    let rows: Vec<_> =
        names.iter().zip(parents).map(|(name, parents)| (name.as_str(), "x", parents)).collect();
    let graph = graph_of(&[nodes(&rows)]);
    assert_eq!(edges(&graph).len(), names.len() - 1);
    assert_eq!(graph["problems"], json!([]));
}

#[test]
fn of_many_problems_some_are_named_and_the_rest_is_counted() {
    let names: Vec<_> = (0..20_000).map(|index| index.to_string()).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let mut rows: Vec<(&str, &str, &[&str])> =
        all.windows(2).map(|pair| (pair[0], "x", &pair[1..])).collect();
    rows.push(("19999", "x", &all));
    let graph = graph_of(&[nodes(&rows)]);
    assert_eq!(edges(&graph).len(), 19_999);
    let problems = graph["problems"].as_array().unwrap();
    assert_eq!(problems.len(), MAX_PROBLEMS + 1);
    assert_eq!(problems[MAX_PROBLEMS], "and 19900 more");
}

#[test]
fn other_streams_add_to_a_node_and_change_nothing_of_it() {
    let about = sizes(&[("a", Some(5)), ("unknown", Some(6)), ("b", None), ("a", Some(7))]);
    let graph = graph_of(&[about, nodes(&[("a", "disk", &[]), ("b", "disk", &[])])]);
    assert_eq!(graph["nodes"][0], json!({ "id": "a", "kind": "disk", "size_bytes": 5 }));
    assert_eq!(graph["nodes"][1], json!({ "id": "b", "kind": "disk", "size_bytes": null }));
    assert_eq!(graph["problems"], json!([]));
    assert_eq!(graph["age_seconds"], 7.5, "of the graph itself");
}

#[test]
fn a_stream_is_of_a_graph_by_its_shape() {
    let [id, kind, parents] = shape();
    let shaped = |columns: &[ColumnSchema]| is_graph(&info("s", StreamKind::Snapshot, columns));
    assert!(shaped(&[id.clone(), parents.clone()]));
    assert!(shaped(&[parents.clone(), kind.clone(), id.clone()]));
    let other_key = ColumnSchema::new("zone", Role::Key, ValueType::Text);
    let number = ColumnSchema::new("id", Role::Key, ValueType::U64);
    let text = ColumnSchema::new("parents", Role::Attribute, ValueType::Text);
    let no_key = ColumnSchema::new("id", Role::Attribute, ValueType::Text);
    for columns in [
        &[id.clone(), kind.clone()],
        &[parents.clone(), kind],
        &[other_key.clone(), parents.clone()],
        &[number, parents.clone()],
        &[id.clone(), text],
        &[no_key, parents.clone()],
    ] {
        assert!(!shaped(columns), "{columns:?}");
    }
    assert!(!shaped(&[id.clone(), other_key, parents.clone()]));
    assert!(!is_graph(&info("s", StreamKind::Event, &[id, parents])));
    assert!(graph(&[sizes(&[("a", None)])], Duration::ZERO).is_none());
}
