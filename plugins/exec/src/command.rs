//! The command as the settings describe it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dropsonde_samples::settings::{Prefix, Size, Span};
use dropsonde_samples::{Format, Reading};
use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Argv(Vec<String>);

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ArgvList)
    }
}

struct ArgvList;

impl<'de> Visitor<'de> for ArgvList {
    type Value = Argv;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a program and its arguments: [\"df\", \"--output=avail\"]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Argv, A::Error> {
        let mut argv = Vec::<String>::new();
        while let Some(argument) = list.next_element()? {
            argv.push(argument);
        }
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::invalid_value(Unexpected::Other("no program"), &self));
        }
        Ok(Argv(argv))
    }
}

/// What is run, what bounds it, and what it writes.
pub(crate) struct CommandLine {
    pub(crate) argv: Argv,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) timeout: Span,
    pub(crate) max_output: Size,
    pub(crate) format: Format,
    pub(crate) prefix: Prefix,
}

/// What it gets of the runner's environment; a thread of the agent has more.
const INHERITED: [&str; 3] = ["PATH", "LANG", "TZ"];

impl CommandLine {
    /// The program, as messages call it.
    pub(crate) fn name(&self) -> &str {
        self.argv.0.first().map_or("", String::as_str)
    }

    /// The samples in what it has written.
    pub(crate) fn read(&self, output: &[u8]) -> Reading {
        self.format.read(output).prefixed(&self.prefix)
    }

    /// Ready to be started; reads nothing, and what it writes comes by pipes.
    pub(crate) fn build(&self) -> Command {
        let mut command = Command::new(self.name());
        command.args(self.argv.0.iter().skip(1)).env_clear();
        let inherited = INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(inherited);
        // The one directory that it may write to.
        for name in ["STATE_DIRECTORY", "TMPDIR"] {
            command.envs(self.state_dir.iter().map(|path| (name, path)));
        }
        command.envs(&self.environment).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}
