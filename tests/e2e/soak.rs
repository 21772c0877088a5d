//! Hot reloads by the hundred: the host holds after the last what it held after the first.
//! `DROPSONDE_SOAK=1` makes it 3,000 in process mode.

use std::fs;

use dropsonde_tests::{Agent, Footprint, Options, fixture, soak, thread_names, wait_for};

fn agent(isolation: &str) -> Agent {
    let agent = Agent::with(Options {
        config: format!("[defaults]\nisolation = \"{isolation}\"\n"),
        plugins: vec![(fixture("steady_v1"), "steady.so".into())],
        ..Options::default()
    });
    agent.running("steady");
    agent
}

/// Replaces the plugin by files that differ in what follows their end, until it has had
/// generation `last`; notes what the host holds now and then, for the slope.
fn reload(agent: &Agent, first: u64, last: u64) -> Vec<(u64, Footprint)> {
    let versions = ["steady_v1", "steady_v2"].map(|name| fs::read(fixture(name)).unwrap());
    let mut seen = Vec::new();
    for generation in first..=last {
        let mut file = versions[(generation % 2) as usize].clone();
        file.extend(generation.to_le_bytes());
        agent.put("steady.so", &file);
        wait_for(&format!("generation {generation}"), || {
            (agent.collector("steady")?["generation"] == generation).then_some(())
        });
        if (generation - first).is_multiple_of(((last - first) / 10).max(1)) {
            seen.push((generation, settled(agent)));
        }
    }
    seen
}

/// Threads for blocking work, and runners that are retiring, end in their own time.
fn settled(agent: &Agent) -> Footprint {
    wait_for("runners and threads of the moment to end", || {
        let names = thread_names(agent.pid());
        let of = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
        let runners = agent.children().len() + of("ds");
        (of("dropsonde-bloc") == 0 && runners == 1).then(|| Footprint::of(agent.pid()))
    })
}

/// KiB for each reload, by least squares.
fn slope(seen: &[(u64, Footprint)]) -> f64 {
    let points: Vec<(f64, f64)> =
        seen.iter().map(|(at, held)| (*at as f64, held.resident_kib as f64)).collect();
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

/// The counts are those of before, and memory is level.
fn is_level(agent: &Agent, mode: &str, seen: &[(u64, Footprint)]) {
    let (first, last) = (seen.first().unwrap(), seen.last().unwrap());
    let slope = slope(seen);
    println!(
        "{mode}: after generation {}: {:?}\n{mode}: after generation {}: {:?}\n\
         {mode}: resident memory changes by {slope:.3} KiB a reload",
        first.0, first.1, last.0, last.1
    );
    // A heap may have been split once more; a leak would be one for each reload.
    wait_for("the counts of before", || {
        let now = Footprint::of(agent.pid());
        let level = now.descriptors == first.1.descriptors
            && now.threads == first.1.threads
            && now.maps <= first.1.maps + 8;
        level.then_some(())
    });
    let more = last.1.resident_kib.saturating_sub(first.1.resident_kib);
    assert!(more < 2048, "{mode}: {more} KiB more after {} reloads", last.0 - first.0);
}

#[test]
fn hot_reloads_in_process_mode_leave_no_trace() {
    let agent = agent("process");
    reload(&agent, 2, 40); // buffers find their size
    let last = 40 + soak(160, 3_000);
    is_level(&agent, "process mode", &reload(&agent, 41, last));
    assert_eq!(agent.collector("steady").unwrap()["restarts"], 0);
}

#[test]
fn hot_reloads_in_thread_mode_leave_no_trace() {
    let agent = agent("thread");
    reload(&agent, 2, 12);
    let last = 12 + soak(30, 238); // of the 256 loads that the budget allows
    is_level(&agent, "thread mode", &reload(&agent, 13, last));
    let libraries = agent.json("/api/v1/status")["libraries"].clone();
    assert_eq!(libraries["left_mapped"], 0, "{libraries}");
    assert_eq!(agent.collector("steady").unwrap()["isolation"], "thread");
}

/// Sixteen collectors of one plugin: each file is loaded sixteen times.
#[test]
fn past_the_budget_of_loads_thread_collectors_go_to_processes_and_health_says_so() {
    let names: Vec<String> = (0..16).map(|number| format!("steady_{number}")).collect();
    let tables: String =
        names.iter().map(|name| format!("[collectors.{name}]\nplugin = \"steady\"\n")).collect();
    let agent = Agent::with(Options {
        config: format!("[defaults]\nisolation = \"thread\"\n{tables}"),
        plugins: vec![(fixture("steady_v1"), "steady.so".into())],
        ..Options::default()
    });
    let mut file = fs::read(fixture("steady_v1")).unwrap();
    for generation in 1..=17 {
        for name in &names {
            let now = agent.until(name, "replaced", |now| now["generation"] == generation);
            let mode = if generation <= 16 { "thread" } else { "process" };
            assert_eq!(now["isolation"], mode, "generation {generation}: {now}");
        }
        file.push(0);
        agent.put("steady.so", &file);
    }
    let moved = agent.running("steady_0");
    let why = moved["moved"].as_str().unwrap();
    assert!(why.contains("256 libraries were loaded into the host"), "{why}");
    assert_eq!(moved["restarts"], 0);
    let metrics = agent.page("/metrics").1;
    assert!(metrics.contains("dropsonde_collector_moved{collector=\"steady_0\"} 1\n"));
}
