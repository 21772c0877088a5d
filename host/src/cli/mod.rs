//! The command line.

mod ask;
mod explain;
mod list;
mod run;
mod systemd;
mod validate;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Say where a value comes from, how old it is, who subscribes to it and what was lost.
    Explain(ExplainArgs),
    /// Check the configuration, and the settings of each collector against its plugin.
    Validate(ValidateArgs),
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
    #[command(flatten)]
    common: Common,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ExplainArgs {
    /// `network.interfaces.bytes_recv`, a whole stream, or a name of the Prometheus page.
    name: String,
    #[command(flatten)]
    common: Common,
    /// Print JSON.
    #[arg(long)]
    json: bool,
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
            plugins: self.plugins.clone(),
            allow_unsafe_permissions: false,
            environment: Sources::process_environment(),
        }
    }
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::List(args) => list::list(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Validate(args) => validate::validate(&args),
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
