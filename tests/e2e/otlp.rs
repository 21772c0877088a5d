//! What is exported by OTLP arrives, at a receiver made of the OpenTelemetry project's own stubs.

mod receiver;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dropsonde_tests::{Agent, fixture, plugin, wait_for};
use serde_json::Value;

use receiver::{Metric, Receiver};

/// Both protocols, unless the receiver can't be had.
fn for_both(test: impl Fn(&str)) {
    if Receiver::is_there() {
        ["grpc", "http"].into_iter().for_each(test);
    }
}

/// An agent that exports to `receiver`.
fn agent(receiver: &Receiver, plugins: &[&Path], otlp: &str, rest: &str) -> Agent {
    let protocol = if receiver.protocol == "http" { "http/protobuf" } else { "grpc" };
    let interval = if otlp.contains("interval") { "" } else { "interval = \"200ms\"" };
    let config = format!(
        "[otlp]\nendpoint = \"http://127.0.0.1:{}\"\nprotocol = \"{protocol}\"\n\
         {interval}\n{otlp}\n{rest}",
        receiver.port
    );
    Agent::with_plugins(&config, plugins)
}

fn status(agent: &Agent, signal: &str) -> Value {
    agent.json("/api/v1/status")["otlp"][signal].clone()
}

/// Waits until the status of a signal is as `is` wants it.
#[track_caller]
fn until(agent: &Agent, signal: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, || Some(status(agent, signal)).filter(&is))
}

/// The numbers of the events that arrived, in the order in which they did.
fn numbers(receiver: &Receiver) -> Vec<u64> {
    let number = |record: &Value| {
        let fields = record["body"]["kvlistValue"]["values"].as_array().unwrap();
        assert_eq!(fields[0]["key"], "number");
        fields[0]["value"]["intValue"].as_str().unwrap().parse().unwrap()
    };
    receiver.log_records().iter().map(number).collect()
}

/// Waits until all events up to the `last` have arrived: each once, and in order.
#[track_caller]
fn all_arrive(receiver: &Receiver, last: u64) {
    let numbers = wait_for("all events", || {
        let numbers = numbers(receiver);
        (numbers.last() >= Some(&last)).then_some(numbers)
    });
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
}

/// Export holds up no collector; a busy machine may cost it a tick.
#[track_caller]
fn keeps_its_ticks(agent: &Agent) {
    let steady = agent.collector("steady").unwrap();
    let [missed, batches] = ["missed_ticks", "batches"].map(|name| steady[name].as_u64().unwrap());
    assert!(missed <= batches / 4, "{missed} missed, {batches} kept");
}

/// How many events there were so far.
fn events(agent: &Agent) -> u64 {
    let streams = agent.json("/api/v1/status")["bus"]["streams"].clone();
    let of = |stream: &Value| stream["topic"] == "events.pulse.beat";
    let stream = streams.as_array().unwrap().iter().find(|stream| of(stream)).cloned();
    stream.map_or(0, |stream| stream["records"].as_u64().unwrap())
}

#[test]
fn metrics_arrive_with_names_types_units_and_attributes_of_the_conventions() {
    for_both(|protocol| {
        let receiver = Receiver::start(protocol);
        let otlp = "headers = { \"api-key\" = \"abc\" }\n[otlp.resource]\n\
                    \"deployment.environment.name\" = \"test\"\n";
        let plugins = [&*plugin("cpu"), &plugin("network"), &fixture("steady_v1")];
        let agent = agent(&receiver, &plugins, otlp, "");
        wait_for("shares", || receiver.metrics("system.cpu.utilization").pop());

        let time = receiver.metrics("system.cpu.time").pop().unwrap();
        assert_eq!((&*time.unit, &*time.scope), ("s", "dropsonde/cpu 0.1.0"));
        assert!(time.is_cumulative_and_monotonic());
        let of = |state: &str| {
            let state = format!("state={state}");
            time.points.iter().filter(|point| point.attributes()[1] == state).count()
        };
        // One metric, all states of all cores.
        let cores = crate::prometheus::cores();
        assert_eq!((of("user"), of("idle")), (cores, cores));
        assert_eq!(time.points[0].attributes(), ["cpu=cpu0", "state=user"]);
        assert_eq!(time.points[0].start() / 1_000_000_000, boot_time());

        let utilization = receiver.metrics("system.cpu.utilization").pop().unwrap();
        assert_eq!((&*utilization.unit, utilization.is_gauge()), ("1", true));
        assert!(utilization.points.iter().all(|point| (0.0..=1.0).contains(&point.number())));
        let io = receiver.metrics("system.network.io").pop().unwrap();
        assert!(io.points.iter().any(|one| one.attributes() == ["device=lo", "direction=receive"]));
        assert!(io.points.iter().all(|point| point.is_integer()));

        let reads = receiver.metrics("dropsonde.steady.parts.reads").pop().unwrap();
        assert_eq!((&*reads.unit, &*reads.description), ("{read}", "How often it was read."));
        let names: Vec<_> = reads.points.iter().map(|point| point.attributes()).collect();
        assert_eq!(names, [["part=a"], ["part=b"]]);
        assert!(!receiver.text().contains("per_sec"), "rates are the receiver's affair");

        let resource = receiver.resource();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(resource["service.name"], "dropsonde");
        assert_eq!(resource["host.name"], host.trim());
        assert_eq!(resource["os.type"], "linux");
        assert_eq!(resource["deployment.environment.name"], "test");
        assert_eq!(resource["service.instance.id"].as_str().unwrap().len(), 36);
        assert_eq!(receiver.requests()[0]["headers"]["api-key"], "abc");
        let sent = until(&agent, "metrics", "counts", |now| now["sent_items"].as_u64() > Some(50));
        assert!(sent["sent_requests"].as_u64() > Some(0));
        assert!(sent["failures"].as_object().unwrap().is_empty(), "{sent:#}");
    });
}

fn boot_time() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    stat.lines().find_map(|line| line.strip_prefix("btime ")).unwrap().parse().unwrap()
}

#[test]
fn counters_arrive_as_they_are_read_and_never_twice() {
    for_both(|protocol| {
        let receiver = Receiver::start(protocol);
        let rest = "[collectors.steady]\ninterval = \"200ms\"\n";
        let agent = agent(&receiver, &[&fixture("steady_v1")], "", rest);
        let elapsed = wait_for("some exports", || {
            let elapsed = receiver.metrics("dropsonde.steady.elapsed");
            (elapsed.len() > 5).then_some(elapsed)
        });
        let growth = |pair: &[Metric]| {
            let [before, after] = [&pair[0].points[0], &pair[1].points[0]];
            assert!(before.time() < after.time());
            assert_eq!(before.start(), after.start());
            assert!(before.number() < after.number());
            // The counter is the time of day in milliseconds.
            let apart = after.number() - after.time() as f64 / 1e6;
            assert!((-5000.0..50.0).contains(&apart), "{apart}"); // read a moment before
        };
        elapsed.windows(2).for_each(growth);
        keeps_its_ticks(&agent);
    });
}

#[test]
fn events_arrive_as_log_records_each_once_and_in_order() {
    for_both(|protocol| {
        let receiver = Receiver::start(protocol);
        let agent = agent(&receiver, &[&fixture("pulse")], "", "");
        wait_for("events", || (events(&agent) > 50).then_some(()));
        all_arrive(&receiver, 50);
        let record = &receiver.log_records()[0];
        assert_eq!(record["eventName"], "pulse.beat");
        assert_eq!(record["severityText"], "INFO");
        assert_eq!(record["severityNumber"], "SEVERITY_NUMBER_INFO");
        assert!(
            record["timeUnixNano"].as_str().unwrap()
                <= record["observedTimeUnixNano"].as_str().unwrap()
        );
    });
}

#[test]
fn what_was_read_while_the_receiver_was_away_arrives_when_it_is_back() {
    for_both(|protocol| {
        let mut receiver = Receiver::start(protocol);
        let rest = "[collectors.steady]\ninterval = \"200ms\"\n";
        let agent = agent(&receiver, &[&fixture("pulse"), &fixture("steady_v1")], "", rest);
        wait_for("events", || (!numbers(&receiver).is_empty()).then_some(()));
        // It takes no more first: a request that it took and did not answer would come twice.
        receiver.answer("busy");
        for signal in ["metrics", "logs"] {
            until(&agent, signal, "busy", |now| now["failures"]["busy"].as_u64() > Some(0));
        }
        receiver.stop();
        until(&agent, "logs", "a queue", |now| now["queued_requests"].as_u64() > Some(1));
        let waiting = until(&agent, "metrics", "a queue", |now| {
            now["queued_requests"].as_u64() > Some(5)
                && now["failures"]["connection"].as_u64() > Some(0)
        });
        assert!(waiting["queued_bytes"].as_u64() > Some(0));
        assert!(waiting["last_error"].as_str().unwrap().contains("refused"), "{waiting:#}");
        let last = events(&agent);
        receiver.start_again();
        all_arrive(&receiver, last);
        until(&agent, "metrics", "an empty queue", |now| now["queued_requests"] == 0);
        let times: Vec<u64> = receiver
            .metrics("dropsonde.steady.elapsed")
            .iter()
            .map(|metric| metric.points[0].time())
            .collect();
        assert!(times.is_sorted_by(|before, after| before < after), "{times:?}");
        for signal in ["metrics", "logs"] {
            assert!(status(&agent, signal)["dropped_requests"].as_object().unwrap().is_empty());
        }
        keeps_its_ticks(&agent);
        let warnings =
            agent.log().iter().filter(|line| line.contains("waits for its receiver")).count();
        assert!(warnings <= 4, "said once, not for each try: {warnings}");
    });
}

#[test]
fn a_receiver_that_is_busy_is_asked_again_when_it_says() {
    for_both(|protocol| {
        for busy in ["busy", "exhausted"] {
            let mut receiver = Receiver::start(protocol);
            receiver.answer(busy);
            let agent = agent(&receiver, &[&fixture("pulse")], "", "");
            until(&agent, "logs", "busy", |now| now["failures"]["busy"].as_u64() > Some(0));
            if busy == "exhausted" {
                let tries = wait_for("another try", || {
                    Some(receiver.requests()).filter(|requests| requests.len() > 1)
                });
                let apart = tries[1]["at"].as_f64().unwrap() - tries[0]["at"].as_f64().unwrap();
                assert!(apart > 0.9, "{apart} s, and it asked for 1 s");
            }
            receiver.answer("ok");
            let last = events(&agent);
            all_arrive(&receiver, last);
        }
    });
}

#[test]
fn a_queue_that_is_full_drops_the_oldest_and_counts_them() {
    for_both(|protocol| {
        let mut receiver = Receiver::start(protocol);
        receiver.stop();
        let otlp = "queue = { size = \"16KiB\", path = \"{root}/queue\" }";
        let rest = "[collectors.steady]\ninterval = \"200ms\"\n";
        let agent = agent(&receiver, &[&fixture("steady_v1")], otlp, rest);
        let lost = until(&agent, "metrics", "losses", |now| {
            now["dropped_requests"]["queue_full"].as_u64() > Some(3)
        });
        assert!(lost["queued_bytes"].as_u64().unwrap() <= 8 << 10);
        let files = fs::read_dir(agent.root().join("queue/metrics")).unwrap();
        let bytes: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
        assert!((1..=10 << 10).contains(&bytes), "{bytes}"); // one more may be on its way
        let (_, page) = agent.page("/metrics");
        assert!(page.contains(
            "dropsonde_otlp_dropped_requests_total{cause=\"queue_full\",signal=\"metrics\"} "
        ));
        receiver.start_again();
        until(&agent, "metrics", "an empty queue", |now| {
            now["queued_requests"] == 0 && now["sent_requests"].as_u64() > Some(0)
        });
        keeps_its_ticks(&agent);
    });
}

#[test]
fn what_waits_survives_a_kill_and_is_sent_by_the_next_agent() {
    for_both(|protocol| {
        let mut receiver = Receiver::start(protocol);
        receiver.stop();
        let first = agent(&receiver, &[&fixture("pulse")], "", "");
        until(&first, "logs", "a queue", |now| now["queued_requests"].as_u64() > Some(2));
        first.signal("KILL");
        let remains = first.ended();
        let queue = remains.root().join("state/otlp/logs");
        fs::write(queue.join("00000000000000009999.tmp"), "half").unwrap();
        receiver.start_again();
        let second = remains.start_again();
        let numbers = wait_for("the events of both", || {
            let numbers = numbers(&receiver);
            (numbers.iter().filter(|number| **number == 1).count() == 2).then_some(numbers)
        });
        let restart = numbers.iter().rposition(|number| *number == 1).unwrap();
        let expected: Vec<u64> = (1..=restart as u64).collect();
        assert!(restart > 50, "{restart}");
        assert_eq!(numbers[..restart], expected);
        assert_eq!(status(&second, "logs")["dropped_requests"]["damaged"], 1);
        assert_eq!(
            fs::read_to_string(second.root().join("state/otlp/logs/damaged")).unwrap(),
            "half"
        );
    });
}

#[test]
fn what_is_refused_is_dropped_and_counted_and_said_once() {
    for_both(|protocol| {
        let mut receiver = Receiver::start(protocol);
        receiver.answer("refused");
        let agent = agent(
            &receiver,
            &[&plugin("memory")],
            "",
            "[collectors.memory]\ninterval = \"50ms\"\n",
        );
        let refused = until(&agent, "metrics", "refusals", |now| {
            now["dropped_requests"]["refused"].as_u64() > Some(2)
        });
        assert_eq!(refused["queued_requests"], 0);
        assert_eq!(refused["sent_requests"], 0);
        receiver.answer("ok");
        wait_for("the next", || receiver.metrics("system.memory.usage").pop());
        let said = agent.log().iter().filter(|line| line.contains("export refuses")).count();
        assert_eq!(said, 1, "{:#?}", agent.log());
        receiver.answer("partial");
        let partial =
            until(&agent, "metrics", "rejections", |now| now["rejected_items"].as_u64() > Some(1));
        assert!(partial["sent_items"].as_u64() > partial["rejected_items"].as_u64());
        agent.logged("one is too old");
    });
}

#[test]
fn a_receiver_that_gives_no_answer_holds_nothing_up() {
    for_both(|protocol| {
        let mut receiver = Receiver::start(protocol);
        receiver.answer("silent");
        let rest = "[collectors.steady]\ninterval = \"200ms\"\n";
        let mut agent = agent(
            &receiver,
            &[&fixture("steady_v1"), &fixture("pulse")],
            "timeout = \"300ms\"",
            rest,
        );
        let failed =
            until(&agent, "logs", "timeouts", |now| now["failures"]["timeout"].as_u64() > Some(1));
        assert!(failed["last_error"].as_str().unwrap().contains("no answer within 300ms"));
        keeps_its_ticks(&agent);
        receiver.answer("ok");
        let last = events(&agent);
        wait_for("all events", || (numbers(&receiver).last() >= Some(&last)).then_some(()));
        assert!(agent.terminate().success());
    });
}

#[test]
fn the_end_sends_what_was_read_last_or_leaves_it_on_disk() {
    for_both(|protocol| {
        for is_there in [true, false] {
            let mut receiver = Receiver::start(protocol);
            if !is_there {
                receiver.answer("silent");
            }
            let plugins = [&*fixture("steady_v1"), &fixture("pulse")];
            let agent = agent(&receiver, &plugins, "interval = \"1h\"", "");
            agent.running("steady");
            let since = Instant::now();
            agent.signal("TERM");
            let remains = agent.ended();
            assert!(remains.status.success());
            assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
            let arrived = receiver.metrics("dropsonde.steady.elapsed").len();
            let files = fs::read_dir(remains.root().join("state/otlp/metrics"));
            let left = files.map_or(0, |files| files.count());
            assert_eq!((arrived, left), if is_there { (1, 0) } else { (0, 1) });
        }
    });
}
