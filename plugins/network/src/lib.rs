//! Traffic of the network interfaces, each and in total.

mod net_dev;
mod records;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use dropsonde_plugin_api::matches_pattern;
use dropsonde_plugin_api::prelude::*;

use crate::net_dev::{Counts, Line};
use crate::records::{Interface, Totals};

/// What the user may set. An interface is reported if it matches any of `include` and none of
/// `exclude`; `*` stands for any text.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Interfaces to report: names, or patterns such as `eth*`.
    #[serde(default = "default_include")]
    include: Vec<String>,
    /// Interfaces to leave out all the same.
    #[serde(default)]
    exclude: Vec<String>,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_include() -> Vec<String> {
    vec!["*".into()]
}

struct NetworkCollector {
    dev: KeptFile,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Collector for NetworkCollector {
    type Settings = Settings;
    type Streams = (Totals, Interface<'static>);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let Settings { proc_root, include, exclude } = settings;
        // The file shows the network namespace of whoever opens it; it is opened on the
        // collector's own thread and stays with that namespace.
        Ok(Self { dev: KeptFile::new(proc_root.join("net/dev")), include, exclude })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        if !out.wants::<Totals>() && !out.wants::<Interface<'_>>() {
            return Ok(());
        }
        let Self { dev, include, exclude } = self;
        report(dev.read()?, |name| is_reported(name, include, exclude), out)
            .map_err(|error| error.context(dev.path().display()))
    }
}

/// Pushes the interfaces that `is_reported` names, and their totals.
///
/// There are no totals while a line can't be understood or nothing is reported: they would fall,
/// and then jump by everything since boot.
fn report(text: &[u8], is_reported: impl Fn(&str) -> bool, out: &mut Batch) -> Result<()> {
    let lines = net_dev::lines(text)?;
    let (wants_totals, wants_interfaces) = (out.wants::<Totals>(), out.wants::<Interface<'_>>());
    if wants_interfaces {
        out.publish_empty::<Interface<'_>>()?;
    }
    let mut totals = None;
    let mut complete = true;
    for Line { name, counts } in lines.filter(|line| is_reported(&line.name)) {
        let Some(counts) = counts else {
            complete = false;
            out.partial(format_args!("the line of `{name}` in net/dev is not 16 counters"));
            continue;
        };
        totals.get_or_insert_with(Counts::default).add(&counts);
        if wants_interfaces {
            out.push(Interface::new(name, &counts))?;
        }
    }
    match totals {
        Some(totals) if complete && wants_totals => out.push(Totals::new(&totals)),
        _ => Ok(()),
    }
}

fn is_reported(name: &str, include: &[String], exclude: &[String]) -> bool {
    let is_in = |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, name));
    is_in(include) && !is_in(exclude)
}

export_plugin!(collector = NetworkCollector, name = "network");
