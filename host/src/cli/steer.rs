//! `dropsonde restart`, `enable`, `disable`, `pace`, `reload` and `log`: what a person tells
//! collectors, and what they tell.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use tonic::{Code, Status};

use super::ask::{Ended, patiently, put, put_json, refused, told_away, told_back};
use super::{EX_CONFIG, Target, fail};
use crate::rpc::client::{Client, LogEvent};
use crate::rpc::proto::{
    LogLine, ReloadRequest, RestartRequest, SetEnabledRequest, SetIntervalRequest, TailLogRequest,
};
use crate::sink::json::timestamp;
use crate::text::plain;

#[derive(Args)]
pub(super) struct Collectors {
    /// Names of collectors.
    #[arg(required = true)]
    collectors: Vec<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
pub(super) struct PaceArgs {
    /// Name of the collector.
    collector: String,
    /// The interval, 10ms or more; its own again if left out.
    #[arg(value_parser = super::span)]
    interval: Option<Duration>,
    /// For how long [default: until the agent ends].
    #[arg(long = "for", value_name = "TIME", value_parser = super::span, requires = "interval")]
    lasting: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    target: Target,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct LogArgs {
    /// Name of the collector.
    collector: String,
    /// How many of the last lines; 256 are kept.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 20)]
    lines: u32,
    /// Go on with new lines.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
    /// Print a line of JSON for each.
    #[arg(long)]
    json: bool,
}

/// The first that fails ends it; those before it are done, and said so.
pub(super) fn restart(args: &Collectors) -> ExitCode {
    args.target.ask(async |client: Client| {
        for collector in &args.collectors {
            let request = RestartRequest { collector: collector.clone() };
            patiently(collector, client.rpc().restart(request)).await?;
            put(&format!("{collector}: restarted\n"))?;
        }
        Ok(())
    })
}

pub(super) fn set_enabled(args: &Collectors, enabled: bool) -> ExitCode {
    args.target.ask(async |client: Client| {
        for collector in &args.collectors {
            let request = SetEnabledRequest { collector: collector.clone(), enabled };
            let reply = patiently(collector, client.rpc().set_enabled(request)).await?;
            let was = if reply.into_inner().changed { "" } else { " already" };
            let now = if enabled { "enabled" } else { "disabled" };
            put(&format!("{collector}:{was} {now}\n"))?;
        }
        Ok(())
    })
}

pub(super) fn pace(args: &PaceArgs) -> ExitCode {
    args.target.ask(async |client: Client| {
        let message = |duration: Duration| duration.try_into().ok();
        let request = SetIntervalRequest {
            collector: args.collector.clone(),
            interval: args.interval.and_then(message),
            lasting: args.lasting.and_then(message),
        };
        patiently(&args.collector, client.rpc().set_interval(request)).await?;
        let shown = |duration: Duration| humantime::format_duration(duration).to_string();
        let every = args.interval.map_or("its own interval again".into(), |interval| {
            format!("each {}", shown(interval))
        });
        let lasting =
            args.lasting.map_or(String::new(), |lasting| format!(" for {}", shown(lasting)));
        put(&format!("{}: {every}{lasting}\n", args.collector))
    })
}

pub(super) fn reload(args: &ReloadArgs) -> ExitCode {
    args.target.ask(async |client: Client| {
        let answer = async { Ok::<_, Status>(client.rpc().reload(ReloadRequest {}).await) };
        let reply = patiently("the reload", answer).await?;
        let reply = reply.map_err(|status| match status.code() {
            Code::FailedPrecondition => fail(EX_CONFIG, status.message()), // as `validate` has it
            _ => refused(status),
        })?;
        let reply = reply.into_inner();
        if args.json {
            return put_json(&json!({
                "unchanged": reply.unchanged,
                "collectors": reply.collectors,
                "needs_restart": reply.needs_restart,
            }));
        }
        if reply.unchanged {
            return put("the configuration is as it was; plugin files are looked at again\n");
        }
        let mut text = match &reply.collectors[..] {
            [] => "applied; no collector is concerned\n".to_owned(),
            collectors => format!("applied: {}\n", collectors.join(", ")),
        };
        for setting in &reply.needs_restart {
            text += &format!("{setting} takes effect at the next start of the agent\n");
        }
        put(&text)
    })
}

pub(super) fn log(args: &LogArgs) -> ExitCode {
    args.target.ask(|client| tail(client, args))
}

async fn tail(client: Client, args: &LogArgs) -> Ended {
    let request =
        TailLogRequest { collector: args.collector.clone(), lines: args.lines, no_follow: true };
    let show = |line: LogLine| {
        if line.lost > 0 && !args.json {
            put(&format!("({} lines were lost)\n", line.lost))?;
        }
        put(&shown(line, args.json))
    };
    if !args.follow {
        let lines = patiently(&args.collector, client.rpc().tail_log(request)).await?;
        let mut lines = lines.into_inner();
        while let Some(line) = lines.message().await.map_err(refused)? {
            show(line)?;
        }
        return Ok(());
    }
    let mut following = client.follow_log(request);
    loop {
        match following.next().await.map_err(refused)? {
            LogEvent::Line(line) => show(line)?,
            LogEvent::Away { reason, retry_in } => told_away(&reason, retry_in),
            LogEvent::Back => told_back(),
        }
    }
}

/// A line of a log: without what a terminal would take for a command, or as JSON.
pub(super) fn shown(line: LogLine, as_json: bool) -> String {
    let LogLine { timestamp: at, level, message, lost } = line;
    let at = at.and_then(|at| SystemTime::try_from(at).ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    let at = timestamp(at);
    if as_json {
        let line = json!({ "timestamp": at, "level": level, "message": message, "lost": lost });
        return format!("{line}\n");
    }
    format!("{at} {level:>5} {}\n", plain(&message))
}
