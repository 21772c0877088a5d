//! Where the HTTP API listens, and whom it answers.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::node::Origin;
use super::section::{Problems, Section, flag, text, texts};
use super::{DEFAULT_LISTEN, Sources};

/// Where the HTTP API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 is any free one.
    Tcp(SocketAddr),
    /// A Unix socket of mode 0600.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match std::path::absolute(path) {
                Ok(path) => Ok(Self::Unix(path)),
                Err(_) => Err("a socket needs a path: \"unix:/run/dropsonde.sock\"".to_owned()),
            };
        }
        let full = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
        full.parse().map(Self::Tcp).map_err(|_| {
            format!(
                "`{text}` is no address; write \"{DEFAULT_LISTEN}\", \":0\" for a free port, or \"unix:/path\""
            )
        })
    }

    /// Whether other machines can reach it. The API has no authentication.
    pub(crate) fn is_exposed(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }
}

/// `host.listen`, under the flag.
pub(super) fn read(
    host: &mut Section<'_>,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<Listen> {
    let configured = host.value("listen", problems, |node| Listen::parse(&text(node)?));
    match &sources.listen {
        Some(flag) => Listen::parse(flag)
            .map_err(|message| problems.add(&Origin::Flag("--listen"), "", message))
            .ok(),
        None => configured.or_else(|| Listen::parse(DEFAULT_LISTEN).ok()),
    }
}

/// Whom the HTTP API answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Names that the machine is reached by, besides its own and `localhost`; in lower case.
    pub allowed_hosts: Vec<String>,
    /// Whether collectors can be restarted and disabled over it. `None`: only where no other
    /// machine can reach it.
    pub actions: Option<bool>,
}

/// `host.allowed_hosts` and `host.actions`.
pub(super) fn access(host: &mut Section<'_>, problems: &mut Problems) -> Access {
    let names = host.value("allowed_hosts", problems, |node| {
        texts(node)?.iter().map(|name| host_name(name)).collect()
    });
    let actions = host.value("actions", problems, flag);
    Access { allowed_hosts: names.unwrap_or_default(), actions }
}

/// A name without a port, as in `Host` of a request.
fn host_name(name: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(good) {
        return Err(format!("`{name}` is no name of a host; write such as \"node1.example.com\""));
    }
    Ok(name.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_sockets_stay_on_this_machine() {
        let rows = [
            ("127.0.0.1:9811", false),
            (":0", false),
            ("[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", false),
            ("127.9.9.9:1", false),
            ("unix:/run/d.sock", false),
            ("0.0.0.0:9811", true),
            ("[::]:9811", true),
            ("192.0.2.1:80", true),
        ];
        for (text, exposed) in rows {
            let listen = Listen::parse(text).unwrap();
            assert_eq!(listen.is_exposed(), exposed, "{text}");
            assert_eq!(Listen::parse(&listen.to_string()), Ok(listen));
        }
        for wrong in ["unix:", "localhost", "", "127.0.0.1"] {
            assert!(Listen::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_allowed_host_is_a_name_alone() {
        assert_eq!(host_name("Box.Example.com."), Ok("box.example.com".to_owned()));
        for wrong in ["", ".", "box:9811", "http://box", "*.example.com", "a b", "box/"] {
            let error = host_name(wrong).unwrap_err();
            assert!(error.contains("is no name of a host"), "{error}");
        }
    }
}
