//! `dropsonde check`: whether plugin files are what the agent, and the people who run it, want.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args as ClapArgs;
use dropsonde_plugin_api::abi::Manifest;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::ask::{Ended, put, put_json};
use super::table::{Table, plain};
use super::top::ended_by;
use super::{EX_CONFIG, fail, runtime};
use crate::check::{Bench, CATALOG, Check, Effort, Outcome, Report, Strays, note_output};
use crate::config::{CollectorSpec, Config, ConfigError, Sources};
use crate::control::Builder;
use crate::runner::THREAD_LOADS_MAX;

/// Exit code where a file can't be read: EX_NOINPUT of sysexits.h(3head).
const EX_NOINPUT: u8 = 66;

#[derive(ClapArgs)]
pub(super) struct Args {
    /// Plugin files.
    #[arg(required_unless_present = "list", value_name = "PLUGIN.so")]
    files: Vec<PathBuf>,
    /// Settings of the collector: TOML (`'exclude = ["lo"]'`), or a file of it.
    #[arg(long, value_name = "TOML|FILE", conflicts_with = "config")]
    settings: Option<String>,
    /// Configuration file: what it says of a collector of the plugin, and of trust, holds. Without
    /// one none is read.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Collector of that file, where it has more than one of the plugin.
    #[arg(long, value_name = "NAME", requires = "config")]
    collector: Option<String>,
    /// Rounds that a collector is asked for.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// How often it is loaded and unloaded on threads of one process.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(THREAD_LOADS_MAX)))]
    reloads: u32,
    /// Time for each file, after which no more is begun.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = super::span)]
    time: Duration,
    /// Warnings fail too.
    #[arg(long)]
    strict: bool,
    /// Show what passed and what was skipped too.
    #[arg(short, long)]
    verbose: bool,
    /// Print JSON: ids and figures stay, texts may change.
    #[arg(long)]
    json: bool,
    /// Take files that others could have written. For development.
    #[arg(long)]
    allow_unsafe_permissions: bool,
    /// List the checks, and try nothing.
    #[arg(long)]
    list: bool,
}

pub(super) fn check(args: &Args) -> ExitCode {
    if args.list {
        return put(&catalogue()).err().unwrap_or(ExitCode::SUCCESS);
    }
    checked(args).unwrap_or_else(|code| code)
}

fn catalogue() -> String {
    let mut table = Table::new(["CHECK", "WHAT"]);
    for (id, what) in CATALOG {
        table.row([id.to_owned(), what.to_owned()]);
    }
    table.render()
}

fn checked(args: &Args) -> Result<ExitCode, ExitCode> {
    let bad = |error: &dyn std::fmt::Display| fail(EX_CONFIG, error);
    let mut config = configuration(args).map_err(|errors| bad(&errors))?;
    let settings = args.settings.as_deref().map(Given::read).transpose().map_err(|e| bad(&e))?;
    if let Some(name) = &args.collector
        && !config.collectors.contains_key(name)
    {
        let known: Vec<&str> = config.collectors.keys().map(String::as_str).collect();
        let hint = crate::config::suggestion(name, &known);
        return Err(bad(&format_args!("there is no collector `{name}`; {hint}")));
    }
    // What the plugin keeps, and what is noted of it, is nothing of an agent's.
    let state = tempfile::tempdir().map_err(|error| fail(1, error))?;
    config.state_dir = state.path().to_owned();
    let spec = |manifest: &Manifest| spec(args, &config, settings.as_ref(), manifest);
    let strays = Strays::adopt().map_err(|error| fail(1, error))?;
    let runtime = runtime().map_err(|error| fail(1, error))?;
    let reports = runtime.block_on(async {
        tokio::select! {
            reports = check_all(args, &config, &strays, &spec) => reports,
            code = interrupted() => Err(code),
        }
    });
    drop(runtime); // and with it the runners
    strays.kill_all();
    let reports = reports?;
    if args.json {
        let plugins: Vec<_> = reports.iter().map(Report::json).collect();
        put_json(&json!({"plugins": plugins}))?;
    } else {
        shown(args, &reports)?;
    }
    Ok(verdict(args, &reports))
}

/// Waits for a signal that ends this program; the exit code for it.
async fn interrupted() -> ExitCode {
    let (mut interrupt, mut terminate, mut hangup) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) {
        (Ok(interrupt), Ok(terminate), Ok(hangup)) => (interrupt, terminate, hangup),
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => return fail(1, error),
    };
    ended_by(tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    })
}

fn verdict(args: &Args, reports: &[Report]) -> ExitCode {
    let worst = reports.iter().map(Report::outcome).max();
    let limit = if args.strict { Outcome::Warn } else { Outcome::Fail };
    if reports.iter().any(|report| report.unreadable) {
        ExitCode::from(EX_NOINPUT)
    } else if reports.iter().any(|report| report.settings_refused) {
        ExitCode::from(EX_CONFIG)
    } else if worst >= Some(limit) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn configuration(args: &Args) -> Result<Config, crate::config::ConfigErrors> {
    let sources = Sources {
        file: args.config.clone(),
        allow_unsafe_permissions: args.allow_unsafe_permissions,
        environment: Sources::process_environment(),
        ..Sources::default()
    };
    match args.config {
        Some(_) => Config::load(&sources),
        None => Config::from_layers(&sources, Vec::new()),
    }
}

/// Settings of the command line.
struct Given {
    source: PathBuf,
    text: String,
}

impl Given {
    /// A file if there is one of that name, TOML otherwise.
    fn read(given: &str) -> Result<Self, String> {
        let path = Path::new(given);
        if path.is_file() || !given.contains('=') && !given.trim().is_empty() {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("--settings: {given}: {error}"))?;
            return Ok(Self { source: path.to_owned(), text });
        }
        Ok(Self { source: "--settings".into(), text: given.to_owned() })
    }
}

/// The collector that a plugin is checked as: the one that was named, the first that the
/// configuration has of it, or one with defaults.
fn spec(
    args: &Args,
    config: &Config,
    settings: Option<&Given>,
    manifest: &Manifest,
) -> Result<CollectorSpec, ConfigError> {
    let of_plugin = |spec: &&CollectorSpec| *spec.plugin == *manifest.name;
    let named = args.collector.as_ref().and_then(|name| config.collectors.get(name));
    let spec = named.filter(of_plugin).or_else(|| config.collectors.values().find(of_plugin));
    let spec = spec.cloned();
    let spec = spec.unwrap_or_else(|| CollectorSpec::auto(&manifest.name, &config.defaults));
    match settings {
        Some(Given { source, text }) => spec.with_settings_toml(source, text),
        None => Ok(spec),
    }
}

async fn check_all(
    args: &Args,
    config: &Config,
    strays: &Strays,
    spec: &dyn Fn(&Manifest) -> Result<CollectorSpec, ConfigError>,
) -> Result<Vec<Report>, ExitCode> {
    let (services, _feeds) = Builder::services(config, false).map_err(|error| fail(1, error))?;
    let _noted = note_output(&services);
    let effort = Effort { rounds: args.rounds, reloads: args.reloads, time: args.time };
    let terminal = io::stderr().is_terminal();
    let mut reports = Vec::new();
    for file in &args.files {
        let progress = |what: &str| {
            if terminal {
                // ECMA-48: erase the line
                let _ = write!(io::stderr(), "\r\x1b[K{}: {what}", plain(&file.to_string_lossy()));
            }
        };
        let (services, trust) = (&*services, &config.trust);
        let bench = Bench { services, trust, strays, spec, effort, progress: &progress };
        let report = bench.check(file).await;
        if terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
        reports.push(report.map_err(|error| fail(EX_CONFIG, error))?);
    }
    services.spawner.end().await;
    Ok(reports)
}

fn shown(args: &Args, reports: &[Report]) -> Ended {
    let texts: Vec<String> = reports.iter().map(|report| page(report, args.verbose)).collect();
    put(&texts.join("\n"))
}

/// Of a group that is well, what these say is worth a glance.
const HEADLINES: [&str; 13] = [
    "file.trust",
    "elf.intact",
    "manifest.read",
    "trial.round",
    "streams.declared",
    "settings.type",
    "collect.outcome",
    "collect.time",
    "collect.cpu",
    "stop.time",
    "reload.outcome",
    "reload.unmapped",
    "sandbox.needed",
];

/// One plugin: a line for each group, and below it what is wrong, or all of it.
fn page(report: &Report, verbose: bool) -> String {
    let mut text = plain(&report.file.to_string_lossy());
    if let Some(Manifest { name, version, .. }) = &report.manifest {
        text += &format!(": {} {}", plain(name), plain(version));
    }
    text.push('\n');
    for (group, checks) in report.groups() {
        text += &group_line(group, &checks, verbose);
        for check in checks.iter().filter(|check| verbose || check.outcome >= Outcome::Warn) {
            for finding in &check.findings {
                let (outcome, found) = (check.outcome.name(), plain(&finding.found));
                text += &format!("    {outcome} {}: {found}\n", check.id);
                if let Some(mend) = &finding.mend {
                    text += &format!("         mend: {}\n", plain(mend));
                }
            }
        }
    }
    let count = |outcome: Outcome| report.count(outcome);
    text + &format!(
        "{} passed, {} skipped, {} warned, {} failed, in {:.1} s\n",
        count(Outcome::Pass),
        count(Outcome::Skip),
        count(Outcome::Warn),
        count(Outcome::Fail),
        report.seconds
    )
}

/// How a group came out: its worst, though what was skipped is no blemish of what passed.
fn group_line(group: &str, checks: &[&Check], verbose: bool) -> String {
    let passed = checks.iter().filter(|check| check.outcome == Outcome::Pass).count();
    let worst = checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Skip);
    let outcome = if worst == Outcome::Skip && passed > 0 { Outcome::Pass } else { worst };
    let mut said: Vec<&str> = checks
        .iter()
        .filter(|check| check.outcome == outcome && HEADLINES.contains(&check.id))
        .filter_map(|check| check.findings.first())
        .map(|finding| finding.found.as_str())
        .collect();
    match outcome {
        Outcome::Pass if !verbose => {}
        Outcome::Skip if !verbose => said.truncate(1),
        _ => said.clear(),
    }
    let (count, said) = (format!("{passed}/{}", checks.len()), plain(&said.join("; ")));
    let line = format!("  {group:<9} {} {count:>6}  {said}", outcome.name());
    format!("{}\n", line.trim_end())
}
