//! `dropsonde run`: configure, start, serve, drain.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use tokio::sync::{mpsc, oneshot, watch};

use super::{EX_CONFIG, Output, RunArgs, fail, runtime, systemd};
use crate::bus::{Overflow, Subscribe, Subscription};
use crate::clock;
use crate::config::{Config, Control, Listen};
use crate::control::{Builder, Host, StartError};
use crate::memory;
use crate::rpc;
use crate::sink::{Guard, Listener, http, json, otlp};

pub(super) fn run(args: &RunArgs) -> ExitCode {
    memory::keep_little();
    let mut sources = args.common.sources();
    sources.allow_unsafe_permissions = args.allow_unsafe_permissions;
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, errors),
    };
    if let Some(missing) = args.common.plugins.iter().find(|directory| !directory.is_dir()) {
        let text = format!("--plugins {}: there is no such directory", missing.display());
        return fail(EX_CONFIG, text);
    }
    let level = args.log.unwrap_or(config.log);
    let format = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // A full disk or a reader that has gone must not panic the task that logs.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Of what libraries say, a frame a line, only what went wrong.
    let others = level.min(tracing::Level::WARN);
    let own = Targets::new().with_default(others).with_target("dropsonde", level);
    let own = own.with_target("plugin", level);
    tracing_subscriber::registry().with(format).with(own).init();
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, format_args!("can't start: {error}")),
    };
    let ended = runtime.block_on(async {
        let builder = Builder::new(sources);
        if args.once { once(builder, args.wait).await } else { serve(builder, &config, args).await }
    });
    // What still blocks must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

fn started(started: Result<Host, StartError>) -> Result<Host, ExitCode> {
    started.map_err(|error| match error {
        StartError::Config(errors) => fail(EX_CONFIG, errors),
        other => fail(1, other),
    })
}

/// Two rounds, one snapshot.
async fn once(builder: Builder, wait: Duration) -> ExitCode {
    let host = match started(builder.on_request_only().start()) {
        Ok(host) => host,
        Err(code) => return code,
    };
    let rounds = async {
        host.settled().await;
        tokio::time::sleep(wait).await;
        host.snapshot(Duration::ZERO, Duration::MAX).await
    };
    let batches = tokio::select! {
        batches = rounds => batches,
        name = told_to_end() => {
            host.shutdown().await; // leaves nothing behind
            return fail(1, format_args!("{name}: no snapshot was taken"));
        }
    };
    let mut text = json::snapshot(&batches, clock::wall()).to_string();
    text.push('\n');
    let empty = batches.is_empty();
    host.shutdown().await;
    if empty {
        return fail(1, "no collector delivered anything; see the log above");
    }
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, format_args!("standard output: {error}")),
    }
}

/// The signal that says so. Never resolves where signals can't be handled.
async fn told_to_end() -> &'static str {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn serve(builder: Builder, config: &Config, args: &RunArgs) -> ExitCode {
    let listener = match Listener::bind(&config.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let text =
                format!("can't listen on {}: {error}; choose another --listen", config.listen);
            return fail(1, text);
        }
    };
    let guard = match Guard::new(&config.listen, &config.access) {
        Ok(guard) => guard,
        Err(error) => return fail(1, format_args!("no random numbers for a token: {error}")),
    };
    let host = match started(builder.start()) {
        Ok(host) => host,
        Err(code) => return code,
    };
    let export = otlp::Exporter::start(&host, config); // first: it misses no event
    let control = match bind_control(&config.control).await {
        Ok(control) => control,
        Err(code) => {
            host.shutdown().await;
            return code;
        }
    };
    let output = args.output.map(|Output::Ndjson| {
        Subscribe::to(">").map(|request| {
            let request = request.named("stdout").overflow(Overflow::DropOldest(4096));
            tokio::spawn(print(host.subscribe(request)))
        })
    });
    let address = listener.url();
    tracing::info!("listening on {address}");
    if matches!(config.listen, Listen::Tcp(address) if address.port() == 0) {
        super::complain(format_args!("listening on {address}"));
    }
    if config.listen.is_exposed() {
        tracing::warn!(
            "other machines can reach {address}, and the API has no authentication; \
             127.0.0.1 and unix:/path stay on this machine"
        );
    }
    let (stop, stopped) = watch::channel(());
    let ended = |mut stopped: watch::Receiver<()>| async move {
        let _ = stopped.changed().await; // an error: its sender has gone
    };
    let serving = tokio::spawn(http::serve(listener, host.clone(), guard, ended(stopped.clone())));
    let controlled =
        control.map(|socket| tokio::spawn(rpc::serve(socket, host.clone(), ended(stopped))));
    let broken = async {
        match output {
            Some(Ok(printing)) => printing.await.ok().flatten(),
            _ => std::future::pending().await,
        }
    };
    let attending = tokio::spawn(systemd::attend(host.clone()));
    let code = tokio::select! {
        code = signals(&host) => code,
        error = broken => match error {
            // Whoever read has read enough, as with head(1).
            Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Some(error) => fail(1, format_args!("standard output: {error}")),
            None => ExitCode::SUCCESS,
        },
    };
    attending.abort();
    systemd::stopping();
    // Drain: no new requests, then the collectors; a client that never reads is not waited for.
    drop(stop);
    if let Some(export) = export {
        export.end().await; // while the last batches are there
    }
    host.shutdown().await;
    let serving = async {
        let _ = serving.await;
        if let Some(controlled) = controlled {
            let _ = controlled.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    code
}

/// The control socket. That another agent of this user has the default one is no error.
async fn bind_control(control: &Control) -> Result<Option<Listener>, ExitCode> {
    let Some(path) = control.path() else { return Ok(None) };
    let bound = match control.prepare() {
        Ok(()) => Listener::bind(&Listen::Unix(path.to_owned())).await.map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    match (bound, control) {
        (Ok(listener), _) => {
            tracing::info!("control socket at {}", path.display());
            Ok(Some(listener))
        }
        (Err(error), Control::Default(_)) => {
            tracing::warn!("no control socket at {}: {error}; set host.control", path.display());
            Ok(None)
        }
        (Err(error), _) => {
            let text = format!(
                "no control socket at {}: {error}; choose another --control",
                path.display()
            );
            Err(fail(1, text))
        }
    }
}

/// SIGTERM and SIGINT end, SIGHUP reloads.
async fn signals(host: &Host) -> ExitCode {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return fail(1, "can't handle signals");
    };
    loop {
        tokio::select! {
            () = host.ended() => return fail(70, "the host's own code panicked: a bug"),
            _ = terminate.recv() => break tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => break tracing::info!("SIGINT: draining"),
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: reloading");
                systemd::reloading();
                host.reload().await; // the outcome is in the log
                systemd::ready();
            }
        }
    }
    ExitCode::SUCCESS
}

/// Chunks of lines that wait for the thread that prints.
const CHUNKS: usize = 4;
/// Lines are written together up to so many bytes.
const CHUNK: usize = 64 << 10;

/// Prints batches until standard output fails. The writing is done on a thread of its own: a
/// reader that stalls stalls nothing else, and loses its own batches.
async fn print(mut batches: Subscription) -> Option<std::io::Error> {
    let (chunks, mut queue) = mpsc::channel::<String>(CHUNKS);
    let (failed, failure) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("dropsonde-print".into()).spawn(move || {
        let mut stdout = std::io::stdout();
        while let Some(chunk) = queue.blocking_recv() {
            let written = stdout.write_all(chunk.as_bytes());
            if let Err(error) = written.and_then(|()| stdout.flush()) {
                let _ = failed.send(error);
                return;
            }
        }
    });
    if let Err(error) = spawned {
        return Some(error);
    }
    let feed = async {
        loop {
            let mut chunk = String::new();
            // A slow reader is waited for here, where batches are lost by policy.
            while chunk.len() < CHUNK {
                let Some(batch) = batches.try_recv() else { break };
                chunk.push_str(&batch.json());
                chunk.push('\n');
            }
            if chunk.is_empty() {
                chunk = batches.recv().await.json().to_string() + "\n";
            }
            if chunks.send(chunk).await.is_err() {
                return; // the thread says why
            }
        }
    };
    tokio::select! {
        biased; // the thread says why before it takes no more
        error = failure => error.ok(),
        () = feed => None,
    }
}
