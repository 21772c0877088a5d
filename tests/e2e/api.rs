//! The HTTP API and the command line's output, on the bundled plugins and the live system.

use std::collections::HashSet;

use dropsonde_tests::{Agent, BUNDLED, Options, fixture, plugin, skipped, wait_for};
use serde_json::Value;

fn bundled() -> Agent {
    let agent = Agent::with(Options {
        plugins: BUNDLED
            .iter()
            .map(|name| (plugin(name), format!("libdropsonde_{name}.so")))
            .collect(),
        ..Options::default()
    });
    for name in BUNDLED {
        agent.running(name);
    }
    agent
}

/// The value of a sample whose name and labels begin so.
fn sample(page: &str, start: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(start));
    let value = found.unwrap_or_else(|| panic!("no {start} in:\n{page}"));
    value.trim_start_matches(|character| character != ' ').trim().parse().unwrap()
}

#[test]
fn the_page_tells_what_each_collector_and_the_host_itself_cost() {
    for isolation in ["process", "thread"] {
        let agent = Agent::with_plugins(
            &format!("[defaults]\ninterval = \"20ms\"\nisolation = \"{isolation}\"\n"),
            &[&fixture("steady_v1")],
        );
        agent.until("steady", "past some rounds", |now| now["rounds"].as_u64() > Some(20));
        let page = agent.page("/metrics").1;
        let name = "dropsonde_collector_round_duration_seconds";
        let steady = "{collector=\"steady\"";
        let count = sample(&page, &format!("{name}_count{steady}"));
        let all = sample(&page, &format!("{name}_bucket{steady},le=\"+Inf\"}}"));
        assert!(
            count >= 20.0 && all.to_bits() == count.to_bits(),
            "{count} rounds, {all} in buckets"
        );
        assert!(sample(&page, &format!("{name}_sum{steady}")) > 0.0);
        assert!(sample(&page, &format!("dropsonde_collector_cpu_seconds_total{steady}")) > 0.0);
        let of_stream = "{collector=\"steady\",topic=\"metrics.steady\"}";
        let of_stream = |name: &str| sample(&page, &format!("dropsonde_stream_{name}{of_stream}"));
        assert!(of_stream("batches_total") >= 20.0 && of_stream("records_total") >= 20.0);
        assert!(sample(&page, "process_cpu_seconds_total") > 0.0);
        assert!(sample(&page, "process_resident_memory_bytes") > 1e6);
        assert!(sample(&page, "process_open_fds") > 3.0);
        let started = sample(&page, "process_start_time_seconds");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!((0.0..600.0).contains(&(now.as_secs_f64() - started)), "{started}");
    }
}

#[test]
fn the_snapshot_has_every_bundled_collector() {
    let agent = bundled();
    // A second round, so that there are rates and shares.
    let snapshot = wait_for("rates", || {
        let snapshot = agent.snapshot();
        snapshot["cpu"]["usage_percent"].is_f64().then_some(snapshot)
    });
    for (path, fields) in [
        (
            "/cpu",
            &[
                "usage_percent",
                "user_percent",
                "system_percent",
                "idle_percent",
                "frequency_mhz",
                "temperature_celsius",
                "load_avg_1m",
                "load_avg_5m",
                "load_avg_15m",
            ] as &[&str],
        ),
        ("/cpu/cores/cpu0", &["usage_percent", "user_percent"]),
        (
            "/memory",
            &[
                "total_bytes",
                "available_bytes",
                "used_bytes",
                "percent",
                "swap_total_bytes",
                "swap_used_bytes",
                "swap_percent",
                "buffers_bytes",
                "cached_bytes",
            ],
        ),
        (
            "/network",
            &[
                "bytes_sent",
                "bytes_recv",
                "packets_sent",
                "packets_recv",
                "errin",
                "errout",
                "dropin",
                "dropout",
                "bytes_recv_per_sec",
            ],
        ),
        ("/network/interfaces/lo", &["bytes_sent", "bytes_recv_per_sec"]),
        (
            "/disk",
            &["read_bytes", "write_bytes", "read_count", "write_count", "read_bytes_per_sec"],
        ),
        ("/disk/partitions/~1", &["total_bytes", "used_bytes", "free_bytes", "percent"]),
        (
            "/memory_bandwidth",
            &["pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "pgfault_per_sec"],
        ),
        ("/hardware", &["hostname", "kernel", "architecture", "vendor", "product", "core_count"]),
        ("/hardware/threads/cpu0", &["online", "package", "core", "numa_node"]),
        ("/hardware/memory", &["total_bytes"]),
        ("/hardware/interfaces/lo", &["type", "driver", "mac", "speed_bits_per_second", "lower"]),
        ("/hardware/nodes/host", &["kind", "name", "parents"]),
        (
            "/perf_events",
            &[
                "available",
                "cpu_cores",
                "interval_ms",
                "sample_time",
                "missing_events",
                "unsupported_events",
                "reason",
            ],
        ),
        ("/process", &["count", "running", "threads", "created", "processes"]),
    ] {
        let object = snapshot.pointer(path).unwrap_or_else(|| panic!("{path}: {snapshot:#}"));
        for field in fields {
            assert!(object.get(field).is_some(), "{path}/{field}: {object:#}");
        }
    }
    assert!(snapshot["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn the_metrics_page_is_what_prometheus_reads() {
    let agent = bundled();
    let (code, page) = agent.page("/metrics");
    assert_eq!(code, 200);
    check_exposition(&page);
    for sample in [
        "system_cpu_time_seconds_total{cpu=\"cpu0\",state=\"user\"}",
        "system_network_io_bytes_total{device=\"lo\",direction=\"receive\"}",
        "system_memory_limit_bytes ",
        "system_processes{status=\"running\"} ",
        "process_memory_usage_bytes{process_executable_name=\"",
        "dropsonde_collector_ready{collector=\"cpu\"} 1",
        "dropsonde_reads_total ",
    ] {
        assert!(page.lines().any(|line| line.starts_with(sample)), "{sample}\n{page}");
    }
}

/// The text format: each family once, with help and type before its samples; no sample twice.
fn check_exposition(page: &str) {
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    let (mut family, mut histogram) = (String::new(), false);
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} stands twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            histogram = kind == "histogram";
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(&family).unwrap_or("not of its family");
            let suffixes: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample.to_owned()), "{sample} stands twice");
        }
    }
    assert!(samples.len() > 50);
}

#[test]
fn perf_counts_software_events_and_names_what_is_unsupported() {
    let agent = bundled();
    let perf = wait_for("a rate", || {
        let perf = agent.snapshot()["perf_events"].clone();
        let refused = perf["available"] == false;
        let counted = perf.pointer("/events/context-switches/value_per_sec");
        (refused || counted.is_some_and(Value::is_f64)).then_some(perf)
    });
    if perf["available"] == false {
        skipped(format!("perf events are not permitted here: {}", perf["reason"]));
        assert!(perf["reason"].is_string());
        return;
    }
    let rate = perf["events"]["context-switches"]["value_per_sec"].as_f64().unwrap();
    assert!(rate > 0.0, "a running system switches contexts");
    for event in perf["unsupported_events"].as_array().unwrap() {
        assert!(perf["events"].get(event.as_str().unwrap()).is_none(), "{event} is no zero");
    }
}

#[test]
fn a_page_that_is_not_there_names_those_that_are() {
    let agent = Agent::start("");
    let (code, text) = agent.page("/nonsense");
    assert_eq!(code, 404);
    assert!(text.contains("/metrics"), "{text}");
    assert_eq!(agent.page("/healthz").0, 200);
    assert_eq!(agent.page("/readyz").0, 200, "nothing is required");
    let (code, text) = agent.page("/api/v1/snapshot?max_age=soon");
    assert_eq!(code, 400);
    assert!(text.contains("max_age") && text.contains("500ms"), "{text}");
    assert_eq!(agent.page("/api/v1/snapshot?maxage=1s").0, 400);
}

#[test]
fn a_hung_collector_delays_no_page() {
    let config = "[collectors.faulty]\ninterval = \"50ms\"\ndeadline = \"1h\"\n\
                  [collectors.faulty.settings]\nfault = \"hang\"\nround = 3\n";
    let agent = Agent::with_plugins(config, &[&fixture("faulty"), &fixture("steady_v1")]);
    agent.running("steady");
    // It hangs, so it misses ticks.
    agent.until("faulty", "hung", |now| now["missed_ticks"].as_u64() > Some(10));
    // Each of these waits for nothing, or for two seconds: were it for the deadline, the
    // request would time out.
    assert!(agent.page("/metrics").1.contains("dropsonde_steady_elapsed"));
    assert_eq!(agent.snapshot()["steady"]["build"], 1);
    let fresh = agent.json("/api/v1/snapshot?max_age=0s");
    assert_eq!(fresh["steady"]["build"], 1);
}

#[test]
fn the_host_survives_a_standard_error_that_nobody_reads() {
    let mut agent =
        Agent::with_plugins("[restart]\ninitial = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    agent.close_log();
    let runner = agent.children()[0].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &runner]).status().unwrap().success());
    agent.until("steady", "back", |now| now["restarts"] == 1 && now["phase"] == "running");
    assert!(agent.terminate().success());
}

#[test]
fn a_request_for_something_fresh_reads_once_for_all_who_wait() {
    let config = "[collectors.steady]\ninterval = \"1h\"\n[collectors.steady.settings]\ncount_reads = true\n";
    let agent = Agent::with_plugins(config, &[&fixture("steady_v1")]);
    let reads = agent.root().join("state/collectors/steady/reads");
    agent.running("steady");
    let count = || std::fs::read_to_string(&reads).unwrap().lines().count();
    assert_eq!(count(), 1, "the first round");
    for _ in 0..10 {
        agent.snapshot();
    }
    assert_eq!(count(), 1, "what is there is fresh enough");
    agent.json("/api/v1/snapshot?max_age=0s");
    assert_eq!(count(), 2, "one round for both streams");
    let bus = agent.json("/api/v1/status")["bus"].clone();
    assert!(bus["cache_hits"].as_u64() >= Some(20), "{bus}");
}

/// What the page is made of is counted each time that it is made.
#[test]
fn scrapers_that_come_at_the_same_time_get_the_same_page() {
    let agent = Agent::with_plugins("[defaults]\ninterval = \"1h\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let made = || {
        let status = agent.json("/api/v1/status");
        let streams = status["bus"]["streams"].as_array().unwrap();
        let steady = streams.iter().find(|stream| stream["topic"] == "metrics.steady").unwrap();
        steady["cache_hits"].as_u64().unwrap()
    };
    let (before, start) = (made(), std::time::Instant::now());
    for _ in 0..200 {
        assert!(agent.page("/metrics").1.contains("steady"));
    }
    let (made, most) = (made() - before, start.elapsed().as_millis() as u64 / 20 + 1);
    assert!((1..=most).contains(&made), "made {made} times in the time of {most}");
}
