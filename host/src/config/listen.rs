//! Where the HTTP API listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::node::Origin;
use super::section::{Problems, Section, text};
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
}
