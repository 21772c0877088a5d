//! Asks a running agent on its control socket.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{EX_CONFIG, EX_UNAVAILABLE, Target, complain, fail, runtime};
use crate::config::{Config, Sources};
use crate::rpc::client::{Client, ClientError};

/// How a command ends where it does not end well.
pub(super) type Ended = Result<(), ExitCode>;

/// Longest that the first answer is waited for without a word on standard error.
const SILENCE: Duration = Duration::from_secs(1);
/// Longest that it is waited for at all: collectors have less for a round.
const LONGEST: Duration = Duration::from_secs(60);
/// Exit code of a command that a signal ended, by custom of shells: 128 and SIGINT.
pub(super) const INTERRUPTED: u8 = 130;

impl Target {
    /// The path of the socket.
    fn socket(&self) -> Result<std::path::PathBuf, ExitCode> {
        let sources = Sources {
            file: self.config.clone(),
            control: self.control.clone(),
            environment: Sources::process_environment(),
            ..Sources::default()
        };
        if let Some(given) = &self.control
            && given != "off"
        {
            return Ok(given.into()); // whatever the configuration says
        }
        let config = Config::load(&sources).map_err(|errors| fail(EX_CONFIG, errors))?;
        config.control.check().map_err(|why| {
            fail(EX_UNAVAILABLE, format_args!("{why}; name the socket by --control"))
        })?;
        let path = config.control.path().map(std::path::Path::to_owned);
        path.ok_or_else(|| {
            fail(
                EX_UNAVAILABLE,
                "the control socket is off; set host.control, or name it by --control",
            )
        })
    }

    /// Connects and does something, until that ends or SIGINT comes.
    pub(super) fn ask<F>(&self, what: impl FnOnce(Client) -> F) -> ExitCode
    where
        F: Future<Output = Ended>,
    {
        let done = self.socket().and_then(|socket| {
            let runtime = runtime().map_err(|error| fail(1, error))?;
            runtime.block_on(async {
                let client = Client::connect(socket).await.map_err(refused)?;
                tokio::select! {
                    done = what(client) => done,
                    _ = tokio::signal::ctrl_c() => Err(ExitCode::from(INTERRUPTED)),
                }
            })
        });
        done.err().unwrap_or(ExitCode::SUCCESS)
    }
}

/// Says why there is no answer.
pub(super) fn refused(error: impl Into<ClientError>) -> ExitCode {
    let error = error.into();
    let code = match &error {
        ClientError::NoAgent { .. } | ClientError::NotAllowed(_) => EX_UNAVAILABLE,
        ClientError::Refused(status) if is_broken(status) => {
            let text = format_args!("the agent has gone: {}", status.message());
            return fail(EX_UNAVAILABLE, text);
        }
        ClientError::Refused(_) => 1,
    };
    fail(code, error)
}

/// Whether there was no answer, or not all of it: the agent itself never says these.
fn is_broken(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

/// Waits for an answer; one that takes long is told of, where somebody looks.
pub(super) async fn patiently<T, E: Into<ClientError>>(
    what: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, ExitCode> {
    let mut answer = std::pin::pin!(answer);
    let start = Instant::now();
    let terminal = io::stderr().is_terminal();
    let mut told = false;
    let answer = loop {
        match tokio::time::timeout(SILENCE, &mut answer).await {
            Ok(answer) => break answer,
            Err(_) if start.elapsed() >= LONGEST => {
                let text = format!("the agent has not answered within {} s", LONGEST.as_secs());
                return Err(fail(EX_UNAVAILABLE, text));
            }
            Err(_) if terminal => {
                told = true;
                let waited = start.elapsed().as_secs();
                let _ = write!(io::stderr(), "\rwaiting for {what}: {waited} s");
            }
            Err(_) => {}
        }
    };
    if told {
        let _ = write!(io::stderr(), "\r\x1b[K"); // ECMA-48: erase the line
    }
    answer.map_err(refused)
}

/// The agent has gone; what is followed goes on when it is back.
pub(super) fn told_away(reason: &str, retry_in: Duration) {
    complain(format_args!(
        "dropsonde: the agent has gone: {reason}; again in {:.1} s",
        retry_in.as_secs_f64()
    ));
}

pub(super) fn told_back() {
    complain(format_args!("dropsonde: the agent is back"));
}

/// Writes to standard output. A reader that has gone has read enough.
pub(super) fn put(text: &str) -> Ended {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ExitCode::SUCCESS),
        Err(error) => Err(fail(1, format_args!("standard output: {error}"))),
    }
}

/// Writes JSON to standard output, for programs.
pub(super) fn put_json(json: &serde_json::Value) -> Ended {
    put(&format!("{json:#}\n"))
}
