//! Asks a running host over its HTTP API.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use crate::config::Listen;

const PATIENCE: Duration = Duration::from_secs(2);

/// The array that `/api/v1/WHAT` answers with; `None` if nobody answers.
pub(super) fn ask(listen: &Listen, what: &str) -> Option<Vec<Json>> {
    let path = format!("/api/v1/{what}");
    let body = match listen {
        Listen::Tcp(address) => over_tcp(&format!("http://{address}{path}"))?,
        Listen::Unix(socket) => over_unix(socket, &path).ok()??,
    };
    serde_json::from_str(&body).ok()
}

fn over_tcp(url: &str) -> Option<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
    agent.get(url).call().ok()?.body_mut().read_to_string().ok()
}

/// HTTP/1.0, which the client library doesn't speak over a Unix socket: the answer is not
/// chunked, and ends with the connection (RFC 1945, section 7.2.2).
fn over_unix(socket: &Path, path: &str) -> io::Result<Option<String>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(None) };
    let good = head.split(' ').nth(1) == Some("200");
    Ok(good.then(|| body.to_owned()))
}
