//! The configuration as a tree in which each value knows where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Number, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

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
        let places = Places::of(path, text);
        let place = |offset| places.at(offset);
        let (table, errors) = DeTable::parse_recoverable(text);
        let node = match errors.first() {
            Some(error) => {
                let at = place(error.span().map_or(0, |span| span.start));
                Err((at, error.message().lines().next().unwrap_or_default().to_owned()))
            }
            None => convert_table(table.get_ref(), &place, MAX_DEPTH).map(|table| {
                let at = place(0);
                Self { key: at.clone(), at, tree: Tree::Table(table) }
            }),
        };
        dismantle(DeValue::Table(table.into_inner()));
        node
    }

    /// A value from the environment: TOML where it parses as such, otherwise text.
    pub(crate) fn from_environment(name: &str, text: &str) -> Result<Self, (Origin, String)> {
        let origin = Origin::Environment(name.to_owned());
        let (value, errors) = DeValue::parse_recoverable(text);
        let tree = if errors.is_empty() {
            convert(&value, &|_| origin.clone(), MAX_DEPTH).map(|node| node.tree)
        } else {
            Ok(Tree::Scalar(Value::from(text)))
        };
        dismantle(value.into_inner());
        Ok(Self { key: origin.clone(), at: origin, tree: tree? })
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

    /// Puts a value at a path of [`MAX_DEPTH`] steps at most, making the tables on the way.
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

/// Tables and arrays within each other. What reads the tree calls itself for each, and so does
/// what reads the settings in a plugin, which gives up at 128.
pub(super) const MAX_DEPTH: usize = 60;

pub(super) fn too_deep(at: Origin) -> (Origin, String) {
    (at, format!("nested too deeply: the most are {MAX_DEPTH} tables and arrays in each other"))
}

fn convert_table(
    table: &DeTable<'_>,
    place: &impl Fn(usize) -> Origin,
    depth: usize,
) -> Result<Table, (Origin, String)> {
    let node = |(key, value): (&Spanned<DeString<'_>>, _)| {
        let node = Node { key: place(key.span().start), ..convert(value, place, depth)? };
        Ok((key.get_ref().to_string(), node))
    };
    table.iter().map(node).collect()
}

/// `depth` is how many more may lie within it.
fn convert(
    value: &Spanned<DeValue<'_>>,
    place: &impl Fn(usize) -> Origin,
    depth: usize,
) -> Result<Node, (Origin, String)> {
    let at = place(value.span().start);
    let below = || depth.checked_sub(1).ok_or_else(|| too_deep(at.clone()));
    let tree = match value.get_ref() {
        DeValue::String(text) => Tree::Scalar(text.as_ref().into()),
        DeValue::Boolean(flag) => Tree::Scalar((*flag).into()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Tree::Scalar(parsed.map_or_else(|_| number.to_string().into(), Value::from))
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().replace('_', "").parse::<f64>().ok();
            // JSON has no infinity: as text it is an error, as null it would pass for unset.
            let parsed = parsed.and_then(Number::from_f64);
            Tree::Scalar(parsed.map_or_else(|| number.to_string().into(), Value::Number))
        }
        DeValue::Datetime(time) => Tree::Scalar(time.to_string().into()),
        DeValue::Array(items) => {
            let depth = below()?;
            let items = items.iter().map(|item| convert(item, place, depth));
            Tree::Array(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Tree::Table(convert_table(table, place, below()?)?),
    };
    Ok(Node { key: at.clone(), at, tree })
}

/// Drops what was parsed level by level: its own destructor calls itself for each, and there may
/// be thousands.
fn dismantle(value: DeValue<'_>) {
    let mut rest = vec![value];
    while let Some(value) = rest.pop() {
        match value {
            DeValue::Table(table) => {
                rest.extend(table.into_iter().map(|(_, value)| value.into_inner()));
            }
            DeValue::Array(items) => rest.extend(items.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}

/// Finds line and column of an offset without going through the text again.
struct Places<'a> {
    path: &'a Arc<Path>,
    /// Where each line starts.
    lines: Vec<usize>,
    /// Bytes that are not the first of their character.
    continuations: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(path: &'a Arc<Path>, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let continuations = (0..text.len()).filter(|at| !text.is_char_boundary(*at)).collect();
        Self { path, lines, continuations }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines[line - 1];
        let [before, until] =
            [start, offset].map(|end| self.continuations.partition_point(|at| *at < end));
        let column = offset - start - (until - before) + 1;
        Origin::File { path: self.path.clone(), line, column }
    }
}
