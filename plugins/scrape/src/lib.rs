//! Pulls the page of a Prometheus endpoint each round. What the page says of times and exemplars
//! is left out: the samples are of the time of the read. Where the endpoint can't be read there are
//! no samples, and `up` is 0, as Prometheus has it.

mod settings;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use dropsonde_plugin_api::{matches_pattern, prelude::*};
use dropsonde_samples::{Format, Reading, Sample};
use ureq::Agent;

use crate::settings::Settings;

/// How the endpoint does.
#[derive(Debug, Record)]
struct Health {
    /// Whether it could be read.
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
    /// Lines that were refused.
    #[counter(unit = "{line}", otel = "dropsonde.scrape.refused")]
    refused: u64,
}

struct Scrape {
    settings: Settings,
    agent: Agent,
    last_good: Option<Instant>,
    refused: u64,
}

/// What is asked for: the older format first, since of OpenMetrics only what is the same is read.
const ACCEPT: &str = "text/plain;version=0.0.4, application/openmetrics-text;version=1.0.0;q=0.5, \
                      */*;q=0.1";

impl Collector for Scrape {
    type Settings = Settings;
    type Streams = (Health, Sample);

    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let agent = Agent::config_builder()
            .timeout_global(Some(settings.timeout.0))
            .http_status_as_error(true)
            .accept(ACCEPT)
            .user_agent(concat!("dropsonde-scrape/", env!("CARGO_PKG_VERSION")))
            .proxy(None) // the endpoint is near, and the environment is the agent's
            .build()
            .new_agent();
        Ok(Self { settings, agent, last_good: None, refused: 0 })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let start = Instant::now();
        let page = self.page();
        let duration_seconds = start.elapsed().as_secs_f64();
        let (up, body_bytes) = (page.is_ok(), page.as_ref().map_or(0, Vec::len));
        let mut reading = Reading::default();
        match page {
            Ok(page) => {
                self.last_good = Some(start);
                reading = Format::Prometheus.read(&page);
            }
            Err(error) => {
                out.partial(format_args!("{}: {error}{}", self.settings.url, hint(&error)));
            }
        }
        let sample_count = reading.samples.len();
        reading.samples.retain(|sample| self.is_wanted(&sample.metric));
        let settings = &self.settings;
        let reading = reading.labelled(&settings.labels.0, settings.honor_labels);
        reading.report(&settings.url.to_string(), out);
        self.refused += reading.refused;
        out.push(Health {
            up,
            duration_seconds,
            age_seconds: self.last_good.map(|at| at.elapsed().as_secs_f64()),
            body_bytes,
            sample_count,
            kept_count: reading.samples.len(),
            refused: self.refused,
        })?;
        reading.publish(out)
    }
}

impl Scrape {
    /// Blocks for the settings' `timeout` at most.
    fn page(&self) -> Result<Vec<u8>, ureq::Error> {
        let mut request = self.agent.get(self.settings.url.uri());
        for (name, value) in &self.settings.headers.0 {
            request = request.header(name, value);
        }
        let mut response = request.call()?;
        response.body_mut().with_config().limit(self.settings.max_body.0 as u64).read_to_vec()
    }

    fn is_wanted(&self, metric: &str) -> bool {
        let Settings { include, exclude, .. } = &self.settings;
        let any = |patterns: &[String]| patterns.iter().any(|one| matches_pattern(one, metric));
        (include.is_empty() || any(include)) && !any(exclude)
    }
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

export_plugin!(collector = Scrape, name = "scrape", capabilities = [Network]);
