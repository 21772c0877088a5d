//! `[otlp]`: where metrics and events are exported to.
//!
//! The environment variables that the OpenTelemetry specification names for exporters ("OTLP
//! Exporter Configuration", "Environment Variable Specification") stand below the file. Nothing is
//! exported unless `otlp.endpoint` or `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use serde_json::Value;

use super::Sources;
use super::node::{Node, Origin, Tree};
use super::section::{Problems, Section, duration, path, size, suggestion, text, texts};
use crate::bus::Pattern;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::HttpProtobuf),
            other => {
                let hint = suggestion(other, &["grpc", "http/protobuf"]);
                Err(format!("`{other}` is no protocol that is spoken here; {hint}"))
            }
        }
    }
}

/// What is exported, and where to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Otlp {
    pub(crate) endpoint: Uri,
    pub(crate) protocol: Protocol,
    /// Time between two exports of metrics.
    pub(crate) interval: Duration,
    /// Topics whose snapshots are exported as metrics.
    pub(crate) streams: Vec<Pattern>,
    /// Topics whose records are exported as log records.
    pub(crate) events: Vec<Pattern>,
    /// Sent with each request.
    pub(crate) headers: HeaderMap,
    /// Longest that one try may take.
    pub(crate) timeout: Duration,
    /// Most bytes of requests that wait on disk, both signals together.
    pub(crate) queue_size: u64,
    /// Where they wait; `None`: in the state directory.
    pub(crate) queue_path: Option<PathBuf>,
    /// Resource attributes beyond the default ones, or instead of them.
    pub(crate) resource: BTreeMap<String, Value>,
}

/// A variable of the environment that is not empty: the specification has empty ones be unset.
struct Environment<'a>(&'a Sources);

impl Environment<'_> {
    fn get(&self, name: &str) -> Option<(Origin, &str)> {
        let found = self.0.environment.iter().find(|(known, _)| known == name);
        let (name, value) = found.filter(|(_, value)| !value.trim().is_empty())?;
        Some((Origin::Environment(name.clone()), value.trim()))
    }

    fn value<T>(
        &self,
        name: &str,
        problems: &mut Problems,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (at, value) = self.get(name)?;
        read(value).map_err(|message| problems.add(&at, "", message)).ok()
    }
}

/// `None`: nothing is exported, or what is said is wrong.
pub(super) fn read(
    node: Option<&Node>,
    sources: &Sources,
    problems: &mut Problems,
) -> Option<Otlp> {
    let environment = Environment(sources);
    if node.is_none() && environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return None;
    }
    let before = problems.0.len();
    let mut section = Section::new("otlp", node, problems);
    let endpoint = section
        .value("endpoint", problems, |node| endpoint(&text(node)?))
        .or_else(|| environment.value("OTEL_EXPORTER_OTLP_ENDPOINT", problems, endpoint));
    let protocol = section
        .value("protocol", problems, |node| Protocol::parse(&text(node)?))
        .or_else(|| environment.value("OTEL_EXPORTER_OTLP_PROTOCOL", problems, Protocol::parse));
    let timeout = section
        .value("timeout", problems, duration)
        .or_else(|| environment.value("OTEL_EXPORTER_OTLP_TIMEOUT", problems, milliseconds));
    let interval = section.value("interval", problems, duration);
    let streams = section.value("streams", problems, patterns);
    let events = section.value("events", problems, patterns);
    let mut headers = environment
        .value("OTEL_EXPORTER_OTLP_HEADERS", problems, |list| headers_of(pairs(list)?))
        .unwrap_or_default();
    headers.extend(section.value("headers", problems, headers_in).unwrap_or_default());
    let mut resource =
        environment.value("OTEL_RESOURCE_ATTRIBUTES", problems, attributes).unwrap_or_default();
    if let Some((_, name)) = environment.get("OTEL_SERVICE_NAME") {
        resource.insert("service.name".to_owned(), name.into());
    }
    resource.extend(section.value("resource", problems, resource_in).unwrap_or_default());
    let mut queue = Section::new("otlp.queue", section.node("queue"), problems);
    let queue_size = queue.value("size", problems, size);
    let queue_path = queue.value("path", problems, path);
    queue.finish(problems);
    section.finish(problems);
    if endpoint.is_none() && problems.0.len() == before {
        let at = node.map_or(Origin::Default, |node| node.key.clone());
        let text = "there is no endpoint; set otlp.endpoint, such as \"http://127.0.0.1:4317\"";
        problems.add(&at, "otlp", text);
    }
    Some(Otlp {
        endpoint: endpoint?,
        protocol: protocol.unwrap_or(Protocol::Grpc),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        streams: streams.unwrap_or_else(|| all_of("metrics.>")),
        events: events.unwrap_or_else(|| all_of("events.>")),
        headers,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
        queue_size: queue_size.unwrap_or(64 << 20),
        queue_path,
        resource,
    })
}

fn all_of(pattern: &str) -> Vec<Pattern> {
    pattern.parse().into_iter().collect()
}

fn endpoint(text: &str) -> Result<Uri, String> {
    let example = "write such as \"http://127.0.0.1:4317\"";
    if text.contains('@') {
        // Whatever else is wrong with it: no error below may repeat it.
        return Err(format!(
            "the endpoint holds a name and a password; set otlp.headers instead; {example}"
        ));
    }
    let uri: Uri = text.parse().map_err(|error| format!("`{text}`: {error}; {example}"))?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("https"), _) => Err(format!(
            "`{text}`: TLS is not built in; send to a collector on this machine by http://, and \
             have that one speak TLS"
        )),
        (Some("http"), Some(authority))
            if authority.as_str().len() > authority.host().len()
                && authority.port_u16().is_none() =>
        {
            Err(format!("`{text}`: a port is a number up to 65535; {example}"))
        }
        (Some("http"), Some(_)) => Ok(uri),
        _ => Err(format!("`{text}` is no URL; {example}")),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<u32>().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| format!("`{text}` is no number of milliseconds above 0"))?;
    Ok(Duration::from_millis(number.into()))
}

fn patterns(node: &Node) -> Result<Vec<Pattern>, String> {
    let parse = |text: &String| text.parse().map_err(|error| format!("`{text}`: {error}"));
    texts(node)?.iter().map(parse).collect()
}

/// `name=value,name=value`, percent-encoded: as the specification has lists in variables.
fn pairs(list: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            "expected name=value, with commas between them".to_owned() // it may hold a secret
        })?;
        Ok((decoded(name.trim())?, decoded(value.trim())?))
    };
    list.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Result<String, String> {
    let wrong = || "what follows a % must be two hexadecimal digits of UTF-8".to_owned();
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn attributes(list: &str) -> Result<BTreeMap<String, Value>, String> {
    Ok(pairs(list)?.into_iter().map(|(name, value)| (name, value.into())).collect())
}

fn headers_in(node: &Node) -> Result<HeaderMap, String> {
    let Tree::Table(table) = &node.tree else {
        return Err(format!("expected a table, found {}", node.type_name()));
    };
    let pair = |(name, node): (&String, &Node)| {
        text(node).map(|value| (name.clone(), value)).map_err(|error| format!("`{name}`: {error}"))
    };
    headers_of(table.iter().map(pair).collect::<Result<_, _>>()?)
}

/// What each request says by itself: of its length, its type and its way.
const OF_THE_REQUEST: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Values are not repeated in errors: they are secrets.
fn headers_of(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let header = |(name, value): (String, String)| {
        let wrong =
            |what| format!("{name:?}: {what} of a header has characters that it can't have");
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("the name"))?;
        if parsed.as_str().ends_with("-bin") || parsed.as_str().starts_with("grpc-") {
            return Err(format!("`{name}`: gRPC keeps such names for itself"));
        }
        if OF_THE_REQUEST.contains(&parsed.as_str()) {
            return Err(format!("`{name}`: each request says that by itself"));
        }
        let mut value = HeaderValue::try_from(value).map_err(|_| wrong("the value"))?;
        value.to_str().map_err(|_| wrong("the value"))?;
        value.set_sensitive(true);
        Ok((parsed, value))
    };
    pairs.into_iter().map(header).collect()
}

fn resource_in(node: &Node) -> Result<BTreeMap<String, Value>, String> {
    let Tree::Table(table) = &node.tree else {
        return Err(format!("expected a table, found {}", node.type_name()));
    };
    let attribute = |(name, node): (&String, &Node)| match &node.tree {
        Tree::Scalar(value) => Ok((name.clone(), value.clone())),
        _ => Err(format!(
            "`{name}` is {}; an attribute is text, a number or a boolean, and a name with dots \
             stands in quotes",
            node.type_name()
        )),
    };
    table.iter().map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment =
            environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let sources = Sources { environment, ..Sources::default() };
        let layers = vec![("/d.toml".into(), Ok(text.to_owned()))];
        Config::from_layers(&sources, layers).map_err(|errors| errors.to_string())
    }

    fn otlp(text: &str, environment: &[(&str, &str)]) -> Otlp {
        load(text, environment).unwrap().otlp.unwrap()
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint() {
        assert_eq!(load("", &[]).unwrap().otlp, None);
        assert_eq!(load("", &[("OTEL_SERVICE_NAME", "x")]).unwrap().otlp, None);
        let error = load("[otlp]\ninterval = \"1s\"\n", &[]).unwrap_err();
        assert!(error.contains("there is no endpoint; set otlp.endpoint"), "{error}");
    }

    #[test]
    fn the_environment_of_the_specification_stands_below_the_file() {
        let environment = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/base"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s%20x, other=1"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,service.name=wrong,b=%C3%A4"),
            ("OTEL_SERVICE_NAME", "right"),
        ];
        let from_environment = otlp("", &environment);
        assert_eq!(from_environment.endpoint, "http://a:4318/base");
        assert_eq!(from_environment.protocol, Protocol::HttpProtobuf);
        assert_eq!(from_environment.headers["api-key"], "s x");
        assert_eq!(from_environment.timeout, Duration::from_millis(250));
        assert_eq!(from_environment.resource["service.name"], "right");
        assert_eq!(from_environment.resource["b"], "ä");
        let text = "[otlp]\nendpoint = \"http://b:4317\"\nprotocol = \"grpc\"\n\
                    headers = { other = \"2\" }\n[otlp.resource]\na = 2\n\"x.y\" = true\n";
        let from_both = otlp(text, &environment);
        assert_eq!(from_both.endpoint, "http://b:4317");
        assert_eq!(from_both.protocol, Protocol::Grpc);
        assert_eq!((&from_both.headers["api-key"], &from_both.headers["other"]).1, "2");
        assert_eq!(from_both.resource["a"], 2);
        assert_eq!(from_both.resource["x.y"], true);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_no_secret() {
        let rows = [
            (
                "endpoint = \"https://a:4317\"",
                "/d.toml:2:12: otlp.endpoint: `https://a:4317`: TLS is not built in",
            ),
            ("endpoint = \"127.0.0.1:4317\"", "otlp.endpoint: `127.0.0.1:4317` is no URL"),
            ("endpoint = \"http://a:secret@c\"", "set otlp.headers instead"),
            ("endpoint = \"https://a:secret@c\"", "set otlp.headers instead"),
            ("endpoint = \"http://a:secret @c\"", "set otlp.headers instead"),
            ("endpoint = \"a:secret@c:4317\"", "set otlp.headers instead"),
            ("endpoint = \"http://a:99999\"", "`http://a:99999`: a port is a number up to 65535"),
            ("headers = { Content-Length = \"1\" }", "`Content-Length`: each request says that"),
            ("queue = { path = \"\" }", "otlp.queue.path: expected a path"),
            ("protocol = \"http/json\"", "did you mean `http/protobuf`?"),
            ("endpont = \"http://a\"", "unknown key `endpont`; did you mean `endpoint`?"),
            ("streams = [\"metrics.>.x\"]", "otlp.streams: `metrics.>.x`: "),
            ("headers = { \"a b\" = \"secret\" }", "\"a b\": the name of a header"),
            ("headers = { a = \"sec\\nret\" }", "\"a\": the value of a header"),
            ("resource = { a.b = \"x\" }", "a name with dots stands in quotes"),
            ("queue = { size = \"0\" }", "otlp.queue.size: expected a size"),
        ];
        for (line, expected) in rows {
            let error = load(&format!("[otlp]\n{line}\n"), &[]).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
            assert!(!error.contains("sec"), "{error}");
        }
        let environment =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")];
        let error = load("", &environment).unwrap_err();
        assert!(error.contains("variable OTEL_EXPORTER_OTLP_HEADERS: expected name=value"));
        assert!(!error.contains("secret"), "{error}");
    }
}
