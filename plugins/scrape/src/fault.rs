//! Why there is no page.

use thiserror::Error;

/// What an endpoint did wrong; the text follows where it is. Shows nothing of what it answered.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("{cause}{}", hint(cause))]
    Http {
        #[from]
        cause: ureq::Error,
    },
    #[error("it answers with status {0}, and a page comes with 200")]
    Status(u16),
    #[error("its answer is compressed (Content-Encoding), which was not asked for")]
    Encoded,
    #[error("its answer is text/html, and no page of metrics; look at the path in `url`")]
    Html,
}

fn hint(error: &ureq::Error) -> &'static str {
    match error {
        // seccomp(2) answers socket(2) so.
        ureq::Error::Io(cause) if cause.raw_os_error() == Some(1) => {
            "; the sandbox lets the network be reached with `allow = [\"network\"]` only"
        }
        _ => "",
    }
}
