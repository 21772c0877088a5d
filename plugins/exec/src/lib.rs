//! Runs a command of the user's, each round or for as long as the collector lives, and shows the
//! samples that it writes. There is no shell between them, unless the command is one.
//!
//! The command has the sandbox of the runner: it may read and run what the agent can, write to its
//! state directory (`$STATE_DIRECTORY`) only, and reach the network if the user allows `network`;
//! set-user-ID programs have no power. Of the environment it gets `PATH`, `LANG`, `TZ`, and what
//! the settings say.

mod blocks;
mod command;
mod complaints;
mod fault;
mod group;
mod once;
mod pipes;
#[allow(unsafe_code)] // sigprocmask(2) between fork(2) and execve(2)
mod signals;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dropsonde_plugin_api::prelude::*;
use dropsonde_samples::settings::{Prefix, Size, Span};
use dropsonde_samples::{Format, Reading, Sample};
use serde::Deserialize;

use crate::command::{Argv, CommandLine};
use crate::fault::Fault;
use crate::stream::Stream;

/// What the user may set.
#[settings]
struct Settings {
    /// The program, and its arguments.
    command: Argv,
    /// What it writes.
    #[serde(default = "prometheus")]
    format: Format,
    /// Whether it is run each round, or once and for long.
    #[serde(default)]
    mode: Mode,
    /// Longest that one run takes, or that nothing comes of a long-lived command. Below the
    /// collector's `deadline`, which ends the runner.
    timeout: Option<Span>,
    /// Most that it may write to its standard output, for one read.
    #[serde(default = "one_mebibyte")]
    max_output: Size,
    /// What stands in its environment besides.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Where it runs.
    #[serde(default = "root")]
    directory: PathBuf,
    /// What each metric's name begins with.
    #[serde(default)]
    prefix: Prefix,
}

fn prometheus() -> Format {
    Format::Prometheus
}

fn one_mebibyte() -> Size {
    Size(1 << 20)
}

fn root() -> PathBuf {
    "/".into()
}

/// How the command is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Each round runs it to its end.
    #[default]
    Interval,
    /// It goes on, and writes blocks: a line each of JSON, of the other formats up to an empty
    /// line. The last complete one is shown.
    Stream,
}

/// How the command does.
#[derive(Debug, Record)]
struct Health {
    /// Whether the last read was good: the command did not fail, and not all was refused that it
    /// wrote.
    #[gauge(unit = "{up}", otel = "dropsonde.exec.up")]
    up: bool,
    /// How long the last run took; of a command that ends.
    #[gauge(unit = "s", otel = "dropsonde.exec.duration")]
    duration_seconds: Option<f64>,
    /// What the command ended with last; missing if it was ended by a signal.
    #[gauge(unit = "{code}", otel = "dropsonde.exec.exit_code")]
    exit_code: Option<i32>,
    /// How long ago the last good read was, or the last block came.
    #[gauge(unit = "s", otel = "dropsonde.exec.age")]
    age_seconds: Option<f64>,
    /// Samples of the last read.
    #[gauge(unit = "{sample}", otel = "dropsonde.exec.samples")]
    sample_count: usize,
    /// Those without a value: what was written is no finite number.
    #[gauge(unit = "{sample}", otel = "dropsonde.exec.samples_without_value")]
    valueless_count: usize,
    /// Lines that were refused.
    #[counter(unit = "{line}", otel = "dropsonde.exec.refused")]
    refused: u64,
    /// Times that a long-lived command was started again.
    #[counter(unit = "{restart}", otel = "dropsonde.exec.restarts")]
    restarts: u64,
}

/// What one round came to.
struct Round {
    /// What the command wrote. `Ok(None)`: it has not written a block yet.
    read: Result<Option<Reading>, Fault>,
    /// It was not there in the round before.
    is_new: bool,
    /// When that was complete.
    at: Instant,
    duration: Option<Duration>,
}

struct Exec {
    command: CommandLine,
    host: Host,
    /// Of a long-lived command.
    stream: Option<Stream>,
    exit_code: Option<i32>,
    last_good: Option<Instant>,
    refused: u64,
    /// What was refused and is in the log.
    told: Option<String>,
}

impl Collector for Exec {
    type Settings = Settings;
    type Streams = (Health, Sample);

    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        let timeout = match settings.mode {
            Mode::Interval => Span(Duration::from_secs(5)),
            Mode::Stream => Span(Duration::from_secs(60)),
        };
        let command = CommandLine {
            argv: settings.command,
            environment: settings.environment,
            directory: settings.directory,
            state_dir: host.state_dir().ok(), // where nothing may be written there is none
            timeout: settings.timeout.unwrap_or(timeout),
            max_output: settings.max_output,
            format: settings.format,
            prefix: settings.prefix,
        };
        let stream = (settings.mode == Mode::Stream).then(Stream::new);
        let (exit_code, last_good, refused, told) = (None, None, 0, None);
        Ok(Self { command, host, stream, exit_code, last_good, refused, told })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let round = match &mut self.stream {
            Some(stream) => stream.round(&self.command, &self.host, &mut self.exit_code),
            None => once::run(&self.command, &self.host, &mut self.exit_code),
        };
        let mut reading = Reading::default();
        let mut up = false;
        match round.read {
            Ok(Some(read)) => {
                reading = read;
                up = !reading.is_garbage();
                if up {
                    self.last_good = Some(round.at);
                }
            }
            Ok(None) => {}
            Err(fault) => out.partial(format_args!("`{}` {fault}", self.command.name())),
        }
        if round.is_new {
            self.refused += reading.refused;
        }
        let is_news = round.is_new && reading.is_news(&mut self.told);
        reading.report(&format!("`{}`", self.command.name()), is_news, out, &self.host);
        out.push(Health {
            up,
            duration_seconds: round.duration.map(|duration| duration.as_secs_f64()),
            exit_code: self.exit_code,
            age_seconds: self.last_good.map(|at| at.elapsed().as_secs_f64()),
            sample_count: reading.samples.len(),
            valueless_count: reading.valueless(),
            refused: self.refused,
            restarts: self.stream.as_ref().map_or(0, Stream::restarts),
        })?;
        reading.publish(out)
    }
}

export_plugin!(collector = Exec, name = "exec", capabilities = [Exec, Network]);
