//! What keeps pages of other sites from using the API through a browser of this machine.
//!
//! * A page whose own name was made to lead here (DNS rebinding) sends that name as `Host`:
//!   requests are answered only under the names that the machine has.
//! * A page of another site says so in `Origin` and `Sec-Fetch-Site`, which no script can change:
//!   it gets no WebSocket, and changes nothing.
//! * What changes something needs a token, which only a page of this origin can read. Whoever
//!   can ask for `/` can read it too: it is no authentication.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::http::failed;
use crate::config::{Access, Listen};

/// The header that carries the token.
pub(super) const TOKEN: HeaderName = HeaderName::from_static("x-dropsonde-token");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What other machines ask by whatever name they have for this one, where they are meant to
/// reach it: scrapers, and those who look whether it is well.
const SCRAPED: [&str; 3] = ["/metrics", "/healthz", "/readyz"];

/// Decides which requests are answered.
pub(crate) struct Guard {
    /// The names that the machine is reached by; `None`: any, as by a Unix socket.
    names: Option<Vec<String>>,
    /// Other machines are meant to reach it.
    exposed: bool,
    /// Anew at each start; or why nothing can be changed.
    token: Result<String, &'static str>,
}

/// Why a request is not answered.
type Refusal = (StatusCode, String);

impl Guard {
    /// Reads the machine's name, and a token from the kernel.
    pub(crate) fn new(listen: &Listen, access: &Access) -> io::Result<Arc<Self>> {
        let names = match listen {
            Listen::Unix(_) => None,
            Listen::Tcp(_) => Some(names_of(&machine_name(), &access.allowed_hosts)),
        };
        let token = match access.actions.unwrap_or(!listen.is_exposed()) {
            true => Ok(random_token()?),
            false if access.actions.is_some() => Err("host.actions is false"),
            false => Err(
                "the API listens where other machines can reach it; host.actions = true allows \
                 them to restart and disable collectors",
            ),
        };
        Ok(Arc::new(Self { names, exposed: listen.is_exposed(), token }))
    }

    /// What a page needs to change something, or why it can't.
    pub(super) fn token(&self) -> Result<&str, &'static str> {
        self.token.as_deref().map_err(|why| *why)
    }

    /// Whether the name that a request was sent to is one of the machine's. A client that names
    /// none is no browser.
    fn check_host(&self, authority: &str) -> Result<(), Refusal> {
        let Some(names) = &self.names else { return Ok(()) };
        let host = host_of(authority).ok_or_else(|| {
            let text = format!("`{authority}` in Host is no name of a machine");
            (StatusCode::BAD_REQUEST, text)
        })?;
        let local = host == "localhost" || host.ends_with(".localhost");
        if local || is_address(&host) || names.contains(&host) {
            return Ok(());
        }
        let text = format!(
            "this machine is not known as `{host}`; if it is, add that to host.allowed_hosts in \
             the agent's configuration"
        );
        Err((StatusCode::MISDIRECTED_REQUEST, text))
    }

    /// Whether a request may change something.
    fn check_steering(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = self.token().map_err(|why| (StatusCode::FORBIDDEN, why.to_owned()))?;
        same_origin(headers)?;
        let given = headers.get(TOKEN).map(|value| value.as_bytes());
        // Of hashes, it tells nothing how far they are the same.
        if given.map(Sha256::digest) == Some(Sha256::digest(token)) {
            return Ok(());
        }
        let text = match given {
            Some(_) => "the token in X-Dropsonde-Token is not that of this start of the agent",
            None => "X-Dropsonde-Token is missing",
        };
        Err((StatusCode::FORBIDDEN, format!("{text}; it stands in the head of the page /")))
    }
}

/// Whether a browser sent it for a page of this origin, if it was a browser.
pub(super) fn same_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |text: String| Err((StatusCode::FORBIDDEN, text));
    if let Some(site) = headers.get(FETCH_SITE)
        && site != "same-origin"
        && site != "none"
    {
        return refused("pages of other sites can't use this".to_owned());
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    // A proxy before it may speak TLS, so the scheme is not known; the port tells it.
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if name.zip(host).is_some_and(|(name, host)| name.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    refused(format!("a page of `{origin}` can't use this: it is of another origin"))
}

/// Before every request: the names in it must be the machine's.
pub(super) async fn host(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let in_headers = request.headers().get_all(header::HOST).iter();
    let in_headers = in_headers.map(|host| host.to_str().unwrap_or("(no text)"));
    let in_uri = request.uri().authority().map(Authority::as_str);
    if guard.exposed && SCRAPED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let checked = in_headers.chain(in_uri).try_for_each(|name| guard.check_host(name));
    match checked {
        Ok(()) => next.run(request).await,
        Err((code, text)) => failed(code, &text),
    }
}

/// Before every request that changes something.
pub(super) async fn steering(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH);
    if headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
    {
        // It is not read, so it can be neither too long nor too slow.
        return failed(StatusCode::PAYLOAD_TOO_LARGE, "this request has no body");
    }
    match guard.check_steering(headers) {
        Ok(()) => next.run(request).await,
        Err((code, text)) => failed(code, &text),
    }
}

/// The host in `Host`, without its port, in lower case.
fn host_of(authority: &str) -> Option<String> {
    let parsed: Authority = authority.parse().ok()?;
    let host = parsed.host().trim_end_matches('.');
    (!authority.contains('@') && !host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// An address leads where it says, whoever wrote it.
fn is_address(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// The machine's name, whole and up to its first dot, and the configured ones.
fn names_of(machine: &str, configured: &[String]) -> Vec<String> {
    let machine = machine.trim().trim_end_matches('.').to_ascii_lowercase();
    let first = machine.split('.').next().unwrap_or_default().to_owned();
    let own = [machine, first].into_iter().filter(|name| !name.is_empty());
    own.chain(configured.iter().cloned()).collect()
}

/// The machine's own name; empty if it can't be read.
pub(super) fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// 256 bits from random(4), as hexadecimal digits.
fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str, allowed: &[&str], actions: Option<bool>) -> Arc<Guard> {
        let sources = crate::config::Sources { listen: Some(listen.into()), ..Default::default() };
        let listen = crate::config::Config::load(&sources).unwrap().listen;
        let allowed_hosts = allowed.iter().map(|name| (*name).to_owned()).collect();
        Guard::new(&listen, &Access { allowed_hosts, actions }).unwrap()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(header).collect()
    }

    #[test]
    fn only_the_machines_own_names_are_answered() {
        let guard = guard("127.0.0.1:0", &["box.example.com"], None);
        let own = machine_name().trim().to_uppercase();
        for (host, code) in [
            ("127.0.0.1:9811", None),
            ("192.0.2.7", None),
            ("[::1]:9811", None),
            ("localhost", None),
            ("LocalHost.:1", None),
            ("a.localhost:9811", None),
            (own.as_str(), None),
            ("box.example.com:9811", None),
            ("box.example.com.", None),
            ("box.example.com.evil.example", Some(StatusCode::MISDIRECTED_REQUEST)),
            ("evil.example:9811", Some(StatusCode::MISDIRECTED_REQUEST)),
            ("localhost.evil.example", Some(StatusCode::MISDIRECTED_REQUEST)),
            ("notlocalhost", Some(StatusCode::MISDIRECTED_REQUEST)),
            ("127.0.0.1.evil.example", Some(StatusCode::MISDIRECTED_REQUEST)),
            ("127.0.0.1@evil.example", Some(StatusCode::BAD_REQUEST)),
            ("", Some(StatusCode::BAD_REQUEST)),
            (":9811", Some(StatusCode::BAD_REQUEST)),
            ("a b", Some(StatusCode::BAD_REQUEST)),
        ] {
            let refused = guard.check_host(host).err().map(|(code, _)| code);
            assert_eq!(refused, code, "{host}");
        }
        let (_, text) = guard.check_host("evil.example").unwrap_err();
        assert!(text.contains("host.allowed_hosts"), "{text}");
    }

    #[test]
    fn a_unix_socket_has_no_name_to_be_mistaken() {
        let guard = guard("unix:/run/d.sock", &[], None);
        assert!(guard.check_host("anything at all").is_ok());
    }

    #[test]
    fn the_first_label_of_a_name_is_a_name_of_the_machine() {
        assert_eq!(names_of("Node1.Example.com\n", &[]), ["node1.example.com", "node1"]);
        assert_eq!(names_of("", &["x".to_owned()]), ["x"]);
    }

    #[test]
    fn pages_of_other_origins_are_told_by_what_a_browser_sends() {
        let host = ("host", "127.0.0.1:9811");
        for (lines, passes) in [
            (vec![host], true), // no browser
            (vec![host, ("origin", "http://127.0.0.1:9811")], true),
            (vec![("host", "Box"), ("origin", "https://box")], true),
            (vec![host, ("sec-fetch-site", "same-origin")], true),
            (vec![host, ("sec-fetch-site", "none")], true),
            (vec![host, ("origin", "http://127.0.0.1:9812")], false),
            (vec![host, ("origin", "http://127.0.0.1")], false),
            (vec![host, ("origin", "http://localhost:9811")], false),
            (vec![host, ("origin", "ftp://127.0.0.1:9811")], false),
            (vec![host, ("origin", "http://127.0.0.1:9811.evil.example")], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("origin", "")], false),
            (vec![("origin", "http://127.0.0.1:9811")], false), // same as what?
            (vec![host, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ("sec-fetch-site", "same-site")], false),
            (
                vec![host, ("origin", "http://127.0.0.1:9811"), ("sec-fetch-site", "cross-site")],
                false,
            ),
        ] {
            assert_eq!(same_origin(&headers(&lines)).is_ok(), passes, "{lines:?}");
        }
    }

    #[test]
    fn what_changes_something_needs_the_token_of_this_start() {
        let guard = guard("127.0.0.1:0", &[], None);
        let token = guard.token().unwrap().to_owned();
        assert_eq!(token.len(), 64);
        let code = |lines: &[(&'static str, &str)]| {
            guard.check_steering(&headers(lines)).map_err(|(code, _)| code)
        };
        assert_eq!(code(&[("x-dropsonde-token", &token)]), Ok(()));
        let refused = Err(StatusCode::FORBIDDEN);
        assert_eq!(code(&[]), refused);
        assert_eq!(code(&[("x-dropsonde-token", "")]), refused);
        assert_eq!(code(&[("x-dropsonde-token", &token[1..])]), refused);
        let another = [("x-dropsonde-token", token.as_str()), ("origin", "http://evil.example")];
        assert_eq!(code(&another), refused);
        let other_start = self::guard("127.0.0.1:0", &[], None);
        assert_ne!(other_start.token().unwrap(), token);
    }

    #[test]
    fn other_machines_change_nothing_unless_that_is_allowed() {
        for (listen, actions, why) in [
            ("127.0.0.1:0", None, None),
            ("unix:/run/d.sock", None, None),
            ("0.0.0.0:1", None, Some("host.actions = true")),
            ("0.0.0.0:1", Some(true), None),
            ("0.0.0.0:1", Some(false), Some("host.actions is false")),
            ("127.0.0.1:0", Some(false), Some("host.actions is false")),
        ] {
            let guard = guard(listen, &[], actions);
            match why {
                None => assert!(guard.token().is_ok(), "{listen}"),
                Some(why) => assert!(guard.token().unwrap_err().contains(why), "{listen}"),
            }
        }
    }
}
