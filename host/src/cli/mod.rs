//! The command line.

mod ask;
mod check;
mod describe;
#[cfg(test)]
mod documented;
mod explain;
mod list;
mod new;
mod query;
mod records;
mod run;
mod steer;
mod systemd;
mod table;
mod top;
mod validate;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::Sources;

/// Exit code for a wrong configuration: EX_CONFIG of sysexits.h(3head).
const EX_CONFIG: u8 = 78;
/// Exit code where no host runs that could be asked: EX_UNAVAILABLE of sysexits.h(3head).
const EX_UNAVAILABLE: u8 = 69;

/// A Linux observability agent whose collectors are plugins.
#[derive(Parser)]
#[command(name = "dropsonde", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent.
    Run(RunArgs),
    /// Show the plugins, and what they do where an agent runs.
    List(ListArgs),
    /// Show the streams, or the columns of some of them.
    Describe(describe::Args),
    /// Print batches as they come.
    Tap(records::TapArgs),
    /// Print the last batch of a stream.
    Get(records::GetArgs),
    /// Print the last batch of each stream, as one JSON object.
    Snapshot(records::SnapshotArgs),
    /// Answer SQL: each snapshot stream is a table.
    Query(query::Args),
    /// Say where a value comes from, how old it is, who subscribes to it and what was lost.
    Explain(explain::Args),
    /// Start collectors anew, whatever their state.
    Restart(steer::Collectors),
    /// Let collectors run that are disabled, until the agent ends.
    Enable(steer::Collectors),
    /// Stop collectors, until they are enabled or the agent ends.
    Disable(steer::Collectors),
    /// Collect a collector at another interval for a while.
    Pace(steer::PaceArgs),
    /// Read the configuration again, and look at all plugin files.
    Reload(steer::ReloadArgs),
    /// Print the log of a collector.
    Log(steer::LogArgs),
    /// Show the machine and the collectors on the terminal, at a glance, and steer them by keys.
    Top(top::Args),
    /// Print a script that completes commands in a shell.
    Completions(CompletionsArgs),
    /// Check the configuration, and the settings of each collector against its plugin.
    Validate(ValidateArgs),
    /// Hold plugin files to what the agent, and those who run it, want of a plugin.
    Check(check::Args),
    /// Write the package of a plugin: sources, tests, README.
    New(new::Args),
}

#[derive(Args)]
struct Common {
    /// Configuration file; `conf.d/*.toml` beside it is read too [default:
    /// /etc/dropsonde/dropsonde.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of plugins; may be given more than once [default: the directory of this
    /// program, and /usr/lib/dropsonde/plugins].
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
    /// Address of the HTTP API: `:0` takes a free port and prints it, `unix:/path` is a socket
    /// that only this user can open [default: 127.0.0.1:9811].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Control socket; `off` for none [default: control.sock in $RUNTIME_DIRECTORY, in
    /// /run/dropsonde for root, in $XDG_RUNTIME_DIR/dropsonde, or in /tmp/dropsonde-UID].
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
}

/// The agent that is asked.
#[derive(Args)]
struct Target {
    /// Control socket of the agent that is asked [default: as `run` has it].
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Configuration file that names the control socket.
    #[arg(long, value_name = "FILE", conflicts_with = "control")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    common: Common,
    /// Take two rounds, print one snapshot as JSON, and end. No HTTP API.
    #[arg(long)]
    once: bool,
    /// Time between the two rounds of --once, so that rates are real.
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "once",
          value_parser = humantime::parse_duration)]
    wait: std::time::Duration,
    /// Print every batch to standard output.
    #[arg(long, value_enum, conflicts_with = "once")]
    output: Option<Output>,
    /// Least severe level that is logged to standard error [default: info].
    #[arg(long, value_name = "LEVEL")]
    log: Option<tracing::Level>,
    /// Admit plugin files that others could have written, with a warning. For development.
    #[arg(long)]
    allow_unsafe_permissions: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// One JSON object a line.
    Ndjson,
}

#[derive(Args)]
struct ListArgs {
    /// Directory of plugins whose files are listed where no agent runs; may be given more than
    /// once [default: the directory of this program, and /usr/lib/dropsonde/plugins].
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
    /// Control socket of the agent that is asked [default: as `run` has it].
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// Configuration file that names control socket and directories.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

#[derive(Args)]
struct ValidateArgs {
    /// The file [default: /etc/dropsonde/dropsonde.toml].
    file: Option<PathBuf>,
    /// Directory of plugins, whose settings are checked; may be given more than once.
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
}

impl Common {
    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            listen: self.listen.clone(),
            control: self.control.clone(),
            plugins: self.plugins.clone(),
            allow_unsafe_permissions: false,
            environment: Sources::process_environment(),
        }
    }
}

/// A time that a person gives; a hundred years at most, which the messages have room for.
fn span(text: &str) -> Result<std::time::Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let most = std::time::Duration::from_secs(100 * 365 * 24 * 3600);
    if span > most { Err("100 years at most".to_owned()) } else { Ok(span) }
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::list(&args),
        Command::Describe(args) => describe::describe(&args),
        Command::Tap(args) => records::tap(&args),
        Command::Get(args) => records::get(&args),
        Command::Snapshot(args) => records::snapshot(&args),
        Command::Query(args) => query::query(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Restart(args) => steer::restart(&args),
        Command::Enable(args) => steer::set_enabled(&args, true),
        Command::Disable(args) => steer::set_enabled(&args, false),
        Command::Pace(args) => steer::pace(&args),
        Command::Reload(args) => steer::reload(&args),
        Command::Log(args) => steer::log(&args),
        Command::Top(args) => top::top(&args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "dropsonde", &mut script);
            ask::put(&String::from_utf8_lossy(&script)).err().unwrap_or(ExitCode::SUCCESS)
        }
        Command::Validate(args) => validate::validate(&args),
        Command::Check(args) => check::check(&args),
        Command::New(args) => new::new(&args),
    }
}

/// Writes a line to standard error. Where that can't be written there is nobody to tell.
fn complain(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn fail(code: u8, message: impl std::fmt::Display) -> ExitCode {
    for line in message.to_string().lines() {
        complain(format_args!("dropsonde: {line}"));
    }
    ExitCode::from(code)
}

/// One thread is enough: it only hands over what the runners read.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .thread_name("dropsonde-block")
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_every_command_in_the_words_of_help() {
        let manual = include_str!("../../debian/dropsonde.1");
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            let item = format!(".It Cm {}\n{about}.\n", command.get_name());
            assert!(manual.contains(&item), "debian/dropsonde.1 lacks: {item}");
        }
        assert_eq!(manual.matches("\n.It Cm ").count(), cli.get_subcommands().count());
    }
}
