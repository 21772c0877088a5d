//! From the start of the agent's process to its first values: on standard output beside
//! collectd's, and of all collectors by HTTP.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::measure::median;
use crate::peer::Peer;
use crate::peers::{COLLECTORS, plugins};
use crate::table::{Figure, Row};
use crate::whole_agent::{MODES, address, command, delivering};
use crate::{Effort, build};

/// A file that was changed just now is left alone for a moment: that is not the usual start.
const AGE: Duration = Duration::from_millis(200);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    build::binary();
    let often = |measure: &dyn Fn() -> Option<f64>| {
        let times: Option<Vec<f64>> = (0..effort.repetitions).map(|_| measure()).collect();
        times.map(|times| Figure::Milliseconds(median(times)))
    };
    let collectd = often(&of_collectd);
    let reference = match collectd {
        Some(_) => "collectd, to its first value on standard output",
        None => "not measured: collectd is not installed",
    };
    let mut rows = Vec::new();
    for mode in MODES {
        for (what, by) in [
            ("first batch on standard output", on_output as fn(&mut Child)),
            ("first batches of all five collectors by HTTP", by_http),
        ] {
            let work = format!("wall time from the start of the agent to the {what}, {mode} mode");
            let measured = often(&|| Some(of_agent(mode, by))).unwrap();
            rows.push(Row { work, measured, reference, floor: collectd });
        }
    }
    rows
}

/// Milliseconds.
fn of_agent(mode: &str, until: fn(&mut Child)) -> f64 {
    let directory = TempDir::new().unwrap();
    let mut command = command(directory.path(), mode, &plugins());
    command.args(["--output", "ndjson"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    std::thread::sleep(AGE);
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    until(&mut child);
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let _ = child.kill();
    let _ = child.wait();
    milliseconds
}

fn on_output(child: &mut Child) {
    until_line(child.stdout.take().unwrap(), r#"{"topic":"metrics."#);
}

fn by_http(child: &mut Child) {
    let output = child.stdout.take().unwrap();
    std::thread::spawn(|| BufReader::new(output).lines().count()); // a full pipe would hold it up
    let all = delivering(&address(child), COLLECTORS.len(), Duration::from_millis(1));
    assert_eq!(all, COLLECTORS.len(), "not all deliver");
}

/// Milliseconds; `None`: it is not installed.
fn of_collectd() -> Option<f64> {
    let begun = Instant::now();
    let mut peer =
        Peer::collectd("LoadPlugin csv\n<Plugin csv>\n  DataDir \"stdout\"\n</Plugin>\n")?;
    until_line(peer.output(), "PUTVAL ");
    Some(begun.elapsed().as_secs_f64() * 1e3)
}

fn until_line(output: impl Read, begin: &str) {
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with(begin)), "it ended without {begin}");
}
