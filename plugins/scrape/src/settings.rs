//! What the user may set.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dropsonde_plugin_api::settings;
use dropsonde_samples::settings::{OwnLabels, Size, Span};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use ureq::http::{HeaderName, HeaderValue, Uri};

/// What the user may set.
#[settings]
pub(crate) struct Settings {
    /// Where the page is: `http://HOST:PORT/metrics`.
    pub(crate) url: Url,
    /// Longest that a read takes. Below the collector's `deadline`, which ends the runner.
    #[serde(default = "five_seconds")]
    pub(crate) timeout: Span,
    /// What is sent with each request.
    #[serde(default)]
    pub(crate) headers: Headers,
    /// Longest page that is read.
    #[serde(default = "eight_mebibytes")]
    pub(crate) max_body: Size,
    /// Metrics that are kept, by patterns with `*`; all, if there are none.
    #[serde(default)]
    pub(crate) include: Vec<String>,
    /// Metrics that are left out; stronger than `include`.
    #[serde(default)]
    pub(crate) exclude: Vec<String>,
    /// Labels that each sample gets.
    #[serde(default)]
    pub(crate) labels: OwnLabels,
    /// Where the page has one of these labels: whether that stays, or is renamed to `exported_…`.
    #[serde(default)]
    pub(crate) honor_labels: bool,
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn eight_mebibytes() -> Size {
    Size(8 << 20)
}

/// Where an endpoint is.
#[derive(Debug, Clone)]
pub(crate) struct Url(Uri);

impl Url {
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

/// Without a user's name and password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0.host().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let expected = "expected http://HOST:PORT/PATH";
        let uri: Uri =
            text.parse().map_err(|error| D::Error::custom(format_args!("{expected}: {error}")))?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self(uri)),
            Some("https") => Err(D::Error::custom(format_args!(
                "{expected}: TLS is not built in; scrape on the machine itself, or through a proxy"
            ))),
            _ => Err(D::Error::custom(expected)),
        }
    }
}

/// Names and values that HTTP takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(pub(crate) Vec<(HeaderName, HeaderValue)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = BTreeMap::<String, String>::deserialize(from)?;
        let one = |(name, value): (String, String)| {
            let what = |error| format!("the header `{name}`: {error}");
            let name_of = HeaderName::try_from(&name);
            let value_of = HeaderValue::try_from(&value);
            let name_of = name_of.map_err(|error| what(error.to_string()))?;
            let mut value_of = value_of.map_err(|error| what(error.to_string()))?;
            value_of.set_sensitive(true); // may be a secret: shown nowhere
            Ok((name_of, value_of))
        };
        let headers: Result<Vec<_>, String> = written.into_iter().map(one).collect();
        headers.map(Self).map_err(D::Error::custom)
    }
}
