//! Pulls the page of a Prometheus endpoint each round. What the page says of times and exemplars
//! is left out: the samples are of the time of the read. Where the endpoint can't be read there are
//! no samples, and `up` is 0, as Prometheus has it.

mod fault;
mod settings;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use dropsonde_plugin_api::{matches_pattern, prelude::*};
use dropsonde_samples::{Format, Reading, Sample};
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::fault::Fault;
use crate::settings::Settings;

/// How the endpoint does.
#[derive(Debug, Record)]
struct Health {
    /// Whether it could be read, and not all was refused that is there.
    #[gauge(unit = "{up}", otel = "dropsonde.scrape.up")]
    up: bool,
    /// How long that took.
    #[gauge(unit = "s", otel = "dropsonde.scrape.duration")]
    duration_seconds: f64,
    /// How long ago it could be read.
    #[gauge(unit = "s", otel = "dropsonde.scrape.age")]
    age_seconds: Option<f64>,
    /// Length of the page.
    #[gauge(unit = "By", otel = "dropsonde.scrape.body_size")]
    body_bytes: usize,
    /// Samples on the page.
    #[gauge(unit = "{sample}", otel = "dropsonde.scrape.samples")]
    sample_count: usize,
    /// Those that `include` and `exclude` leave.
    #[gauge(unit = "{sample}", otel = "dropsonde.scrape.samples_kept")]
    kept_count: usize,
    /// Those of the kept ones without a value: what is on the page is no finite number.
    #[gauge(unit = "{sample}", otel = "dropsonde.scrape.samples_without_value")]
    valueless_count: usize,
    /// Lines that were refused.
    #[counter(unit = "{line}", otel = "dropsonde.scrape.refused")]
    refused: u64,
}

struct Scrape {
    settings: Settings,
    host: Host,
    agent: Agent,
    last_good: Option<Instant>,
    refused: u64,
    /// What was refused and is in the log.
    told: Option<String>,
}

/// What is asked for: the older format first, since of OpenMetrics only what is the same is read.
const ACCEPT: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, \
                      */*;q=0.1";

impl Collector for Scrape {
    type Settings = Settings;
    type Streams = (Health, Sample);

    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        let agent = Agent::config_builder()
            .timeout_global(Some(settings.timeout.0))
            .http_status_as_error(true)
            .max_redirects(0) // another host is not whom the user's headers are for
            .accept(ACCEPT)
            .user_agent(concat!("dropsonde-scrape/", env!("CARGO_PKG_VERSION")))
            .proxy(None) // the endpoint is near, and the environment is the agent's
            .build()
            .new_agent();
        Ok(Self { settings, host, agent, last_good: None, refused: 0, told: None })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let start = Instant::now();
        let page = self.page();
        let duration_seconds = start.elapsed().as_secs_f64();
        let body_bytes = page.as_ref().map_or(0, Vec::len);
        let (mut reading, mut up) = (Reading::default(), false);
        match page {
            Ok(page) => {
                reading = Format::Prometheus.read(&page);
                up = !reading.is_garbage();
                if up {
                    self.last_good = Some(start);
                }
            }
            Err(fault) => out.partial(format_args!("{}: {fault}", self.settings.url)),
        }
        let sample_count = reading.samples.len();
        reading.samples.retain(|sample| self.is_wanted(&sample.metric));
        let settings = &self.settings;
        let reading = reading.labelled(&settings.labels.0, settings.honor_labels);
        let is_news = reading.is_news(&mut self.told);
        reading.report(&settings.url.to_string(), is_news, out, &self.host);
        self.refused += reading.refused;
        out.push(Health {
            up,
            duration_seconds,
            age_seconds: self.last_good.map(|at| at.elapsed().as_secs_f64()),
            body_bytes,
            sample_count,
            kept_count: reading.samples.len(),
            valueless_count: reading.valueless(),
            refused: self.refused,
        })?;
        reading.publish(out)
    }
}

impl Scrape {
    /// Blocks for the settings' `timeout` at most.
    fn page(&self) -> Result<Vec<u8>, Fault> {
        let mut request = self.agent.get(self.settings.url.uri());
        for (name, value) in &self.settings.headers.0 {
            request = request.header(name, value);
        }
        let mut response = request.call()?;
        check(&response)?;
        let body = response.body_mut().with_config();
        Ok(body.limit(self.settings.max_body.0 as u64).read_to_vec()?)
    }

    fn is_wanted(&self, metric: &str) -> bool {
        let Settings { include, exclude, .. } = &self.settings;
        let any = |patterns: &[String]| patterns.iter().any(|one| matches_pattern(one, metric));
        (include.is_empty() || any(include)) && !any(exclude)
    }
}

/// Whether an answer can be a page.
fn check(response: &Response<Body>) -> Result<(), Fault> {
    let begins = |name: HeaderName, with: &[u8]| {
        let value = response.headers().get(name)?.as_bytes().trim_ascii();
        Some(value.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with)))
    };
    if response.status() != StatusCode::OK {
        return Err(Fault::Status(response.status().as_u16()));
    }
    if begins(CONTENT_ENCODING, b"identity") == Some(false) {
        return Err(Fault::Encoded);
    }
    if begins(CONTENT_TYPE, b"text/html") == Some(true) {
        return Err(Fault::Html);
    }
    Ok(())
}

export_plugin!(collector = Scrape, name = "scrape", capabilities = [Network]);
