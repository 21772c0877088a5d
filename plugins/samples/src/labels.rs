//! The labels of a sample, in the one form that tells a series from others.

use crate::MAX_LABELS;
use crate::fault::Fault;
use crate::names::check_label;
use crate::prometheus;

/// Labels in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    pairs: Vec<(String, String)>,
    bytes: usize,
}

impl Labels {
    /// Adds one. An empty value is as good as no label, as Prometheus has it.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), Fault> {
        check_label(name)?;
        if self.get(name).is_some() {
            return Err(Fault::LabelTwice(name.to_owned()));
        }
        self.bytes += written_length(name, value);
        if self.bytes > MAX_LABELS {
            return Err(Fault::LongLabels);
        }
        self.pairs.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Adds a label of whoever reads. One of that name which is there already is renamed, with
    /// `exported_` before its name, as Prometheus does it; if the one that is there is `honored`,
    /// it stays instead.
    pub fn add_own(&mut self, name: &str, value: &str, honored: bool) -> Result<(), Fault> {
        let position = self.pairs.iter().position(|(other, _)| other == name);
        if let Some(position) = position {
            if honored && !self.pairs[position].1.is_empty() {
                return Ok(());
            }
            let (_, theirs) = self.pairs.swap_remove(position);
            self.bytes -= written_length(name, &theirs);
            let mut renamed = format!("exported_{name}");
            while self.get(&renamed).is_some() {
                renamed.insert_str(0, "exported_");
            }
            self.add(&renamed, &theirs)?;
        }
        self.add(name, value)
    }

    /// What [`into_text`](Self::into_text) gave.
    pub(crate) fn from_text(text: &str) -> Result<Self, Fault> {
        prometheus::labels(&format!("{text}}}")).map(|(labels, _)| labels)
    }

    /// The value of one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The one form: in order of name, without those that are empty, escaped as Prometheus text
    /// has it: `a="1",b="2"`.
    pub fn into_text(mut self) -> String {
        self.pairs.retain(|(_, value)| !value.is_empty());
        self.pairs.sort_unstable();
        let mut text = String::with_capacity(self.bytes);
        for (name, value) in &self.pairs {
            if !text.is_empty() {
                text.push(',');
            }
            text.extend([name, "=\""]);
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        text
    }
}

/// How many bytes a label takes: `name="value",`.
fn written_length(name: &str, value: &str) -> usize {
    name.len() + value.len() + 4
}
