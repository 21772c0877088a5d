//! Reads the samples in a directory of `.prom` files (Prometheus text), as node_exporter's textfile
//! collector does: cron jobs and scripts write them, best by rename. A file that did not change is
//! not read again.
//!
//! Other than there, one wrong line does not lose a file, and times in it are left out. Files may
//! be links of root or of the file's owner, and only plain files are read: a FIFO is never waited
//! for.

mod files;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dropsonde_plugin_api::prelude::*;
use dropsonde_samples::settings::{Size, Span};
use dropsonde_samples::{Reading, Sample};

use crate::files::Files;

/// What the user may set.
#[settings]
struct Settings {
    /// Where the files lie.
    directory: PathBuf,
    /// Samples of a file that was not written for longer vanish, and it is reported. Without it
    /// they stay as long as the file.
    max_age: Option<Span>,
    /// Largest file that is read.
    #[serde(default = "four_mebibytes")]
    max_file: Size,
}

fn four_mebibytes() -> Size {
    Size(4 << 20)
}

/// How the reading of the directory went.
#[derive(Debug, Record)]
struct Health {
    /// Whether something could not be read, was refused, or is too old.
    #[gauge(unit = "{error}", otel = "node.textfile.scrape_error")]
    scrape_error: bool,
    /// Files that are there.
    #[gauge(unit = "{file}", otel = "dropsonde.textfile.files")]
    file_count: usize,
    /// Samples in them.
    #[gauge(unit = "{sample}", otel = "dropsonde.textfile.samples")]
    sample_count: usize,
    /// Those without a value: what is written is no finite number.
    #[gauge(unit = "{sample}", otel = "dropsonde.textfile.samples_without_value")]
    valueless_count: usize,
}

/// One file.
#[derive(Debug, Record)]
#[record(stream = "files")]
struct File {
    /// Its path.
    #[key]
    file: String,
    /// When it was last written, in seconds since 1970.
    #[gauge(unit = "s", otel = "node.textfile.mtime")]
    mtime_seconds: f64,
    /// Whether it was not written for so long that its samples are left out.
    #[gauge(unit = "{stale}", otel = "dropsonde.textfile.stale")]
    stale: bool,
    /// Samples in it that are kept.
    #[gauge(unit = "{sample}", otel = "dropsonde.textfile.file.samples")]
    sample_count: usize,
    /// Lines in it that are refused.
    #[gauge(unit = "{line}", otel = "dropsonde.textfile.file.refused")]
    refused: u64,
}

struct Textfile {
    host: Host,
    files: Files,
}

impl Collector for Textfile {
    type Settings = Settings;
    type Streams = (Health, File, Sample);

    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        let files = Files::new(settings.directory, settings.max_file, settings.max_age);
        Ok(Self { host, files })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.publish_empty::<File>()?;
        let faults = self.files.look();
        let mut scrape_error = !faults.is_empty();
        faults.into_iter().for_each(|fault| out.partial(fault));
        let mut all = Reading::default();
        for (path, found) in self.files.found() {
            let shown = path.display().to_string();
            all.merge(&found.reading, &shown);
            found.reading.report(&shown, found.is_new, out, &self.host);
            scrape_error |= found.reading.refused > 0;
            out.push(File {
                file: shown,
                mtime_seconds: seconds(found.mtime),
                stale: found.stale,
                sample_count: found.reading.samples.len(),
                refused: found.reading.refused,
            })?;
        }
        // Each file by itself was reported above; here is what stands in two of them.
        all.report("samples of two files", true, out, &self.host);
        scrape_error |= all.refused > 0;
        let (file_count, sample_count) = (self.files.found().count(), all.samples.len());
        let valueless_count = all.valueless();
        out.push(Health { scrape_error, file_count, sample_count, valueless_count })?;
        all.publish(out)
    }
}

fn seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

export_plugin!(collector = Textfile, name = "textfile");
