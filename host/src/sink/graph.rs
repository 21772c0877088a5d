//! The graph of a collector: how the things that it reports hang together.
//!
//! A stream is part of a graph by its shape: its one key is the text `id`, and it has a list of
//! texts `parents` with the ids of the records that this one hangs on. Its other columns become
//! attributes of the node, and so do those of the collector's other streams where a record names
//! the node in a text column `node`.
//!
//! The graph is given as two flat lists: a node may hang on several, a bridge on each of its
//! ports, and a nested tree would show it as often as it is reached.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::{Role, StreamKind, ValueType};
use serde_json::{Map, Value as Json, json};

use super::json::{timestamp, to_json};
use crate::model::{Batch, StreamInfo, Value};

/// Most problems that are named; the rest is counted.
const MAX_PROBLEMS: usize = 100;

/// Whether a stream is part of its collector's graph.
pub(crate) fn is_graph(stream: &StreamInfo) -> bool {
    let columns = &stream.schema.columns;
    let mut keys = stream.keys().map(|key| &columns[key]);
    let has_id = keys.next().is_some_and(|key| key.name == "id" && key.value == ValueType::Text);
    let is_list = |index: usize| columns[index].value == ValueType::TextList;
    stream.schema.kind == StreamKind::Snapshot
        && has_id
        && keys.next().is_none()
        && stream.column("parents").is_some_and(is_list)
}

/// The graph in the last batches of one collector: `{"timestamp":…,"age_seconds":…,"nodes":
/// [{"id":…,…}],"edges":[{"from":…,"to":…}],"problems":[…]}`. An edge leads from a parent; every
/// edge has its nodes, and none closes a cycle. `None` if there is no batch of a graph.
pub(crate) fn graph(batches: &[Arc<Batch>], now: Duration) -> Option<Json> {
    let (graphs, others): (Vec<_>, Vec<_>) =
        batches.iter().partition(|batch| is_graph(&batch.stream));
    let oldest = graphs.iter().min_by_key(|batch| batch.monotonic)?;
    let mut graph = Graph::default();
    graphs.iter().for_each(|batch| graph.add_nodes(batch));
    let parents = graph.known_parents();
    let edges = graph.without_cycles(&parents);
    let edge = |(from, to): (usize, usize)| json!({ "from": graph.ids[from], "to": graph.ids[to] });
    let edges: Vec<_> = edges.into_iter().map(edge).collect();
    Some(json!({
        "timestamp": timestamp(oldest.wall),
        "age_seconds": now.saturating_sub(oldest.monotonic).as_secs_f64(),
        "nodes": graph.nodes(&others),
        "edges": edges,
        "problems": graph.problems.into_texts(),
    }))
}

#[derive(Default)]
struct Graph<'a> {
    ids: Vec<&'a str>,
    /// The record of each.
    records: Vec<(&'a Batch, usize)>,
    /// Where in the two a node stands.
    positions: HashMap<&'a str, usize>,
    problems: Problems,
}

impl<'a> Graph<'a> {
    fn add_nodes(&mut self, batch: &'a Batch) {
        for (batch, row) in rows(batch) {
            let Value::Text(id) = batch.get(row, "id") else { continue };
            if self.positions.contains_key(id) {
                self.problems.add(|| format!("the node `{id}` stands twice; the first one counts"));
                continue;
            }
            self.positions.insert(id, self.ids.len());
            self.ids.push(id);
            self.records.push((batch, row));
        }
    }

    /// For each node the positions of those that it hangs on.
    fn known_parents(&mut self) -> Vec<Vec<usize>> {
        let mut all = Vec::with_capacity(self.ids.len());
        for (id, (batch, row)) in self.ids.iter().zip(&self.records) {
            let named = match batch.get(*row, "parents") {
                Value::List(named) => named,
                _ => "",
            };
            let mut seen = HashSet::new();
            let mut known = Vec::new();
            for parent in named.split_terminator('\0').filter(|parent| seen.insert(*parent)) {
                match self.positions.get(parent) {
                    Some(position) => known.push(*position),
                    None => self
                        .problems
                        .add(|| format!("the node `{id}` hangs on `{parent}`, which is not there")),
                }
            }
            all.push(known);
        }
        all
    }

    /// The edges, by the order of the nodes that they lead to; those that would close a cycle
    /// are left out. Without recursion: a chain may be as long as a batch.
    fn without_cycles(&mut self, parents: &[Vec<usize>]) -> Vec<(usize, usize)> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut states = vec![State::New; parents.len()];
        let mut edges = Vec::new();
        for start in 0..parents.len() {
            if states[start] != State::New {
                continue;
            }
            states[start] = State::Open;
            let mut path = vec![(start, parents[start].iter())];
            while let Some((node, rest)) = path.last_mut() {
                let node = *node;
                let Some(&parent) = rest.next() else {
                    states[node] = State::Done;
                    path.pop();
                    continue;
                };
                if states[parent] == State::Open {
                    let (from, to) = (self.ids[parent], self.ids[node]);
                    self.problems
                        .add(|| format!("the edge from `{from}` to `{to}` closes a cycle"));
                    continue;
                }
                edges.push((parent, node));
                if states[parent] == State::New {
                    states[parent] = State::Open;
                    path.push((parent, parents[parent].iter()));
                }
            }
        }
        edges.sort_by_key(|(from, to)| (*to, *from));
        edges
    }

    /// The nodes, with what the records of other streams say about them. A column that a node has
    /// already stays as it is, and a record's keys only say again what the node is.
    fn nodes(&self, others: &[&Arc<Batch>]) -> Vec<Map<String, Json>> {
        let node = |(id, (batch, row)): (&&str, &(&Batch, usize))| {
            let mut node = Map::from_iter([("id".to_owned(), Json::from(*id))]);
            add_columns(&mut node, batch, *row, "parents");
            node
        };
        let mut nodes: Vec<_> = self.ids.iter().zip(&self.records).map(node).collect();
        for (batch, row) in others.iter().flat_map(|batch| rows(batch)) {
            let Value::Text(id) = batch.get(row, "node") else { continue };
            let position = self.positions.get(id).copied();
            if let Some(node) = position.and_then(|position| nodes.get_mut(position)) {
                add_columns(node, batch, row, "node");
            }
        }
        nodes
    }
}

fn rows(batch: &Batch) -> impl Iterator<Item = (&Batch, usize)> {
    (0..batch.rows()).map(move |row| (batch, row))
}

/// Adds a record's columns but for its keys, `without`, and what is there already.
fn add_columns(node: &mut Map<String, Json>, batch: &Batch, row: usize, without: &str) {
    for (index, column) in batch.stream.schema.columns.iter().enumerate() {
        if column.role != Role::Key && column.name != without && !node.contains_key(&column.name) {
            node.insert(column.name.clone(), to_json(batch.value(row, index)));
        }
    }
}

/// What is wrong with a graph, in words.
#[derive(Default)]
struct Problems {
    named: Vec<String>,
    more: usize,
}

impl Problems {
    fn add(&mut self, text: impl FnOnce() -> String) {
        if self.named.len() < MAX_PROBLEMS {
            self.named.push(text());
        } else {
            self.more += 1;
        }
    }

    fn into_texts(mut self) -> Vec<String> {
        if self.more > 0 {
            self.named.push(format!("and {} more", self.more));
        }
        self.named
    }
}

#[cfg(test)]
mod tests;
