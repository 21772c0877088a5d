//! Reads one table of the configuration: each key once, each error with its place.

use std::path::PathBuf;
use std::time::Duration;

use dropsonde_plugin_api::abi::Capability;
use serde_json::Value;

use super::node::{Node, Origin, Table, Tree};
use super::{ConfigError, Isolation};

/// Gathers errors, so that a person sees all of them at once.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<ConfigError>);

impl Problems {
    pub(super) fn add(&mut self, at: &Origin, path: &str, message: impl Into<String>) {
        let (at, path, message) = (at.clone(), path.to_owned(), message.into());
        self.0.push(ConfigError { at, path, message });
    }
}

/// One table that is being read.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a Table>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// A table that may be absent. A value that is no table is an error.
    pub(super) fn new(path: &str, node: Option<&'a Node>, problems: &mut Problems) -> Self {
        let table = match node.map(|node| (&node.tree, node)) {
            Some((Tree::Table(table), _)) => Some(table),
            Some((_, node)) => {
                let text = format!("expected a table, found {}", node.type_name());
                problems.add(&node.at, path, text);
                None
            }
            None => None,
        };
        Self { path: path.to_owned(), table, known: Vec::new() }
    }

    pub(super) fn node(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.table?.get(key)
    }

    /// A value that `read` makes sense of; its error says what was expected.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match read(node) {
            Ok(value) => Some(value),
            Err(message) => {
                problems.add(&node.at, &self.child(key), message);
                None
            }
        }
    }

    /// Where one of its keys stands.
    pub(super) fn at(&self) -> Origin {
        let first = self.table.and_then(|table| table.values().next());
        first.map_or(Origin::Default, |node| node.key.clone())
    }

    pub(super) fn child(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Every key that nobody asked for is an error; it names the nearest right one.
    pub(super) fn finish(self, problems: &mut Problems) {
        for (key, node) in self.table.into_iter().flatten() {
            if !self.known.contains(&key.as_str()) {
                let text = format!("unknown key `{key}`; {}", suggestion(key, &self.known));
                problems.add(&node.key, &self.path, text);
            }
        }
    }
}

/// Longest word that another may be near to: likeness takes time by the square of the length.
const LONGEST_WORD: usize = 128;

/// The nearest right word, or all of them.
pub(crate) fn suggestion(word: &str, known: &[&str]) -> String {
    if word.len() > LONGEST_WORD {
        return format!("a name has {LONGEST_WORD} bytes at most"); // nothing is near it
    }
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

pub(super) fn text(node: &Node) -> Result<String, String> {
    match &node.tree {
        Tree::Scalar(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("expected a string, found {}", node.type_name())),
    }
}

/// A path of a file or directory. An empty one would be whatever directory the agent stands in.
pub(super) fn path(node: &Node) -> Result<PathBuf, String> {
    match text(node)? {
        text if text.is_empty() || text.contains('\0') => {
            Err("expected a path, found none; leave the key out for the default".to_owned())
        }
        text => Ok(text.into()),
    }
}

pub(super) fn flag(node: &Node) -> Result<bool, String> {
    match &node.tree {
        Tree::Scalar(Value::Bool(flag)) => Ok(*flag),
        _ => Err(format!("expected true or false, found {}", node.type_name())),
    }
}

pub(super) fn count(node: &Node) -> Result<usize, String> {
    let number = match &node.tree {
        Tree::Scalar(value) => value.as_u64().filter(|number| *number > 0),
        _ => None,
    };
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| "expected a whole number above 0".to_owned())
}

pub(super) fn texts(node: &Node) -> Result<Vec<String>, String> {
    match &node.tree {
        Tree::Array(items) => items.iter().map(text).collect(),
        _ => Err(format!("expected an array of strings, found {}", node.type_name())),
    }
}

/// Longest duration that makes sense, and far from where sums of times overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    let expected = "expected a duration such as \"500ms\", \"1s\" or \"5min\"";
    let Tree::Scalar(Value::String(text)) = &node.tree else {
        return Err(format!("{expected}, found {}", node.type_name()));
    };
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("the duration must be above 0".to_owned()),
        Ok(duration) if duration > LONGEST => Err("the longest duration is one year".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{expected}: {error}")),
    }
}

/// Bytes: a number, or text such as "64MiB".
pub(super) fn size(node: &Node) -> Result<u64, String> {
    let expected = || "expected a size such as \"64MiB\" or \"1GiB\"".to_owned();
    let text = match &node.tree {
        Tree::Scalar(Value::String(text)) => text.as_str(),
        Tree::Scalar(value) => return value.as_u64().filter(|size| *size > 0).ok_or_else(expected),
        _ => return Err(format!("{}, found {}", expected(), node.type_name())),
    };
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(expected()),
    };
    let number = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|size| *size > 0).ok_or_else(expected)
}

pub(super) fn capabilities(node: &Node) -> Result<Vec<Capability>, String> {
    let known: Vec<&str> = Capability::ALL.iter().map(|capability| capability.name()).collect();
    let one = |name: &String| {
        let found = Capability::ALL.into_iter().find(|capability| capability.name() == name);
        found.ok_or_else(|| format!("`{name}` is no capability; {}", suggestion(name, &known)))
    };
    texts(node)?.iter().map(one).collect()
}

pub(super) fn isolation(node: &Node) -> Result<Isolation, String> {
    match text(node)?.as_str() {
        "process" => Ok(Isolation::Process),
        "thread" => Ok(Isolation::Thread),
        other => Err(format!("`{other}` is no isolation: it is \"process\" or \"thread\"")),
    }
}
