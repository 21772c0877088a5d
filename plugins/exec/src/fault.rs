//! Why a command gave nothing.

use std::io;
use std::process::ExitStatus;

use dropsonde_samples::settings::{Size, Span};
use thiserror::Error;

/// What a command did wrong; the text follows its name.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("can't be started: {cause}{}", hint(cause))]
    Start { cause: io::Error },
    #[error(
        "took longer than {0}, and was killed with what it had started; raise `timeout` if it needs more, and keep it below `deadline`"
    )]
    Timeout(Span),
    #[error("wrote more than {0}, and was killed; set `max_output` if that is right")]
    Output(Size),
    #[error("ended with {status}{}", in_log(*complained))]
    Failed { status: ExitStatus, complained: bool },
    #[error("ended with {status}{}; it is started again in {pause}", in_log(*complained))]
    Ended { status: ExitStatus, complained: bool, pause: Span },
    #[error("has written nothing complete for {0}, and was killed; it is started again")]
    Silent(Span),
    /// It is not there, for a reason that was given before.
    #[error("{0}")]
    Paused(String),
    #[error("can't be watched: {0}")]
    Watch(io::Error),
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        // seccomp(2) answers execve(2) so; a file that may not be executed gives EACCES, which
        // has the same kind.
        io::ErrorKind::PermissionDenied if cause.raw_os_error() == Some(1) => {
            "; the sandbox lets programs be started with `allow = [\"exec\"]` only"
        }
        io::ErrorKind::NotFound => "; there must be the program, `directory` and /bin/sh",
        _ => "",
    }
}

/// What a command writes to its standard error may be a secret, and everybody may read a fault.
fn in_log(complained: bool) -> &'static str {
    if complained { "; the log has what it wrote to its standard error" } else { "" }
}
