//! The configuration as a tree in which each value knows where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value came from, as an error shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Embedded.
    Default,
    /// A line of a file; both counted from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and where its key stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) key: Origin,
    pub(crate) at: Origin,
    pub(crate) tree: Tree,
}

#[derive(Debug, Clone)]
pub(crate) enum Tree {
    Scalar(Value),
    Array(Vec<Node>),
    Table(Table),
}

pub(crate) type Table = BTreeMap<String, Node>;

impl Node {
    /// Parses a file's text.
    pub(crate) fn parse(path: &Arc<Path>, text: &str) -> Result<Self, (Origin, String)> {
        let place = |offset: usize| place(path, text, offset);
        match DeTable::parse(text) {
            Ok(table) => {
                let at = place(0);
                let tree = Tree::Table(convert_table(table.get_ref(), &place));
                Ok(Self { key: at.clone(), at, tree })
            }
            Err(error) => {
                let at = place(error.span().map_or(0, |span| span.start));
                Err((at, error.message().lines().next().unwrap_or_default().to_owned()))
            }
        }
    }

    /// A value from the environment: TOML where it parses as such, otherwise text.
    pub(crate) fn from_environment(name: &str, text: &str) -> Self {
        let origin = Origin::Environment(name.to_owned());
        let place = |_: usize| origin.clone();
        let tree = match DeValue::parse(text) {
            Ok(value) => convert(&value, &place).tree,
            Err(_) => Tree::Scalar(Value::from(text)),
        };
        Self { key: origin.clone(), at: origin.clone(), tree }
    }

    pub(crate) fn table(origin: &Origin) -> Self {
        Self { key: origin.clone(), at: origin.clone(), tree: Tree::Table(Table::new()) }
    }

    /// Lays another tree over this one: tables are merged, everything else is replaced.
    pub(crate) fn overlay(&mut self, upper: Node) {
        match (&mut self.tree, upper.tree) {
            (Tree::Table(lower), Tree::Table(upper_table)) => {
                for (key, node) in upper_table {
                    match lower.get_mut(&key) {
                        Some(existing) => existing.overlay(node),
                        None => {
                            lower.insert(key, node);
                        }
                    }
                }
                self.at = upper.at;
                self.key = upper.key;
            }
            (_, tree) => *self = Self { tree, ..upper },
        }
    }

    /// Puts a value at a path, making the tables on the way.
    pub(crate) fn insert(&mut self, path: &[String], value: Node) {
        let [first, rest @ ..] = path else { return self.overlay(value) };
        let mut wrapped = Node::table(&value.at);
        let mut inner = Node::table(&value.at);
        inner.insert_into_empty(rest, value);
        if let Tree::Table(table) = &mut wrapped.tree {
            table.insert(first.clone(), inner);
        }
        self.overlay(wrapped);
    }

    fn insert_into_empty(&mut self, path: &[String], value: Node) {
        match path {
            [] => *self = value,
            [..] => self.insert(path, value),
        }
    }

    /// The value as JSON, for a plugin.
    pub(crate) fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::Array(items) => items.iter().map(Node::to_json).collect(),
            Tree::Table(table) => {
                table.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()
            }
        }
    }

    /// Where a plugin's settings error points: the deepest node on a path such as
    /// `rules[2].name`.
    pub(crate) fn locate(&self, path: &str) -> &Origin {
        let mut node = self;
        let mut at = &self.at;
        for step in path.split(['.', '[']).map(|step| step.trim_end_matches(']')) {
            let next = match &node.tree {
                Tree::Table(table) => table.get(step),
                Tree::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                Tree::Scalar(_) => None,
            };
            let Some(next) = next else { break };
            node = next;
            at = &next.key;
        }
        at
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match &self.tree {
            Tree::Table(_) => "a table",
            Tree::Array(_) => "an array",
            Tree::Scalar(Value::String(_)) => "a string",
            Tree::Scalar(Value::Bool(_)) => "a boolean",
            Tree::Scalar(_) => "a number",
        }
    }
}

fn convert_table(table: &DeTable<'_>, place: &impl Fn(usize) -> Origin) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let node = Node { key: place(key.span().start), ..convert(value, place) };
            (key.get_ref().to_string(), node)
        })
        .collect()
}

fn convert(value: &Spanned<DeValue<'_>>, place: &impl Fn(usize) -> Origin) -> Node {
    let at = place(value.span().start);
    let tree = match value.get_ref() {
        DeValue::String(text) => Tree::Scalar(text.as_ref().into()),
        DeValue::Boolean(flag) => Tree::Scalar((*flag).into()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Tree::Scalar(parsed.map_or_else(|_| number.to_string().into(), Value::from))
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().replace('_', "").parse::<f64>();
            Tree::Scalar(parsed.map_or_else(|_| number.to_string().into(), Value::from))
        }
        DeValue::Datetime(time) => Tree::Scalar(time.to_string().into()),
        DeValue::Array(items) => {
            Tree::Array(items.iter().map(|item| convert(item, place)).collect())
        }
        DeValue::Table(table) => Tree::Table(convert_table(table, place)),
    };
    Node { key: at.clone(), at, tree }
}

fn place(path: &Arc<Path>, text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    Origin::File { path: path.clone(), line, column }
}
