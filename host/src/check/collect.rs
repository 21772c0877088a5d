//! What the rounds showed, and the stop.

use std::time::Duration;

use dropsonde_plugin_api::abi::Kind;

use super::observe::{Observed, Plan, Round};
use super::report::Check;
use super::series::Seen;
use super::strays;
use super::usage::{Growth, Usage};
use crate::model::shown;

/// A leak below this in each half of the rounds can't be told from what the allocator does.
const NOISE_KIB: u64 = 64;
/// More than this a round fails: at an interval of a second it is 340 MiB a day.
const LEAK_KIB: f64 = 4.0;

pub(super) fn checks(observed: &Observed, kind: Kind, plan: Plan) -> Vec<Check> {
    let mut checks = vec![outcome(observed, kind, plan), rows(observed)];
    match kind {
        Kind::Polled => checks.extend([
            time(observed),
            cpu(observed),
            growth(&observed.streams),
            counters(&observed.streams, observed.rounds.len()),
        ]),
        Kind::Events => checks.extend(
            ["collect.time", "collect.cpu", "collect.growth", "collect.counters"]
                .map(|id| Check::skip(id, "an event source has no rounds")),
        ),
    }
    checks.extend([
        memory(observed),
        left("collect.descriptors", "descriptors", observed, |usage| usage.descriptors),
        left("collect.threads", "threads", observed, |usage| usage.threads),
        Check::skip(
            "collect.allocations",
            "a plugin has an allocator of its own, which nobody outside can count; see collect.memory",
        ),
        log(observed, kind, plan),
    ]);
    checks.extend(stop(observed));
    checks
}

fn outcome(observed: &Observed, kind: Kind, plan: Plan) -> Check {
    const ID: &str = "collect.outcome";
    let done = observed.rounds.len() + 1; // the trial's
    let mut problems = Vec::new();
    if let Some((round, failure)) = &observed.ended {
        let found = match kind {
            Kind::Polled => format!("round {round}: {failure}"),
            Kind::Events => failure.to_string(),
        };
        let mend = "see to it that it goes on: the agent starts it anew after a pause that doubles";
        problems.push(Check::fail(ID, found, mend));
    }
    if observed.failed > 0 {
        let errors: Vec<&str> = observed.errors.iter().map(String::as_str).take(3).collect();
        let failed = match kind {
            Kind::Polled => format!("{} of {done} rounds", observed.failed),
            Kind::Events => format!("{} batches", observed.failed),
        };
        let found = format!("{failed}: {}", errors.join("; "));
        let mend = "report what can't be read by out.partial(…), and deliver the rest";
        problems.push(Check::fail(ID, found, mend));
    }
    if !observed.partial.is_empty() {
        let parts: Vec<&str> = observed.partial.iter().map(String::as_str).take(3).collect();
        let found = format!("partial: {}", parts.join("; "));
        problems.push(Check::warn(ID, found, "see whether this machine lacks it, or the plugin"));
    }
    let well = match kind {
        Kind::Polled if done < plan.rounds as usize => {
            format!("{done} rounds in the time that there was, of {}", plan.rounds)
        }
        Kind::Polled => format!("{done} rounds"),
        Kind::Events => {
            let events: u64 =
                observed.streams.iter().filter_map(|seen| seen.rows).map(|rows| rows.2).sum();
            format!("{events} events in {}", humantime::format_duration(plan.listen))
        }
    };
    Check::of(ID, problems, well).figure("rounds", done)
}

/// The value below which this share of the sorted values lies.
fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn sorted(rounds: &[Round], of: impl Fn(&Round) -> Duration) -> Vec<Duration> {
    let mut times: Vec<Duration> = rounds.iter().map(of).collect();
    times.sort_unstable();
    times
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn time(observed: &Observed) -> Check {
    const ID: &str = "collect.time";
    let wall = sorted(&observed.rounds, |round| round.wall);
    let (half, most) = (percentile(&wall, 0.5), percentile(&wall, 0.99));
    if wall.is_empty() {
        return Check::skip(ID, "there was no round after the trial's");
    }
    let found = format!(
        "p50 {:.2} ms, p99 {:.2} ms, from its start to the end of the first {:.0} ms",
        ms(half),
        ms(most),
        ms(observed.first)
    );
    let check = if most > observed.interval / 2 {
        let every = humantime::format_duration(observed.interval);
        let found = format!("{found}: it is to be read every {every}");
        Check::warn(ID, found, "read less in a round, or propose a longer interval")
    } else {
        Check::pass(ID, found)
    };
    check
        .figure("p50_ms", ms(half))
        .figure("p99_ms", ms(most))
        .figure("first_ms", ms(observed.first))
        .figure("interval_ms", ms(observed.interval))
}

/// Of one CPU, at its interval; more is warned of.
const MUCH_CPU: f64 = 0.05;

fn cpu(observed: &Observed) -> Check {
    const ID: &str = "collect.cpu";
    let Some(rounds) = u32::try_from(observed.rounds.len()).ok().filter(|rounds| *rounds > 0)
    else {
        return Check::skip(ID, "there was no round after the trial's");
    };
    let mean = observed.rounds.iter().map(|round| round.cpu).sum::<Duration>() / rounds;
    let share = mean.as_secs_f64() / observed.interval.as_secs_f64().max(0.001);
    let micros = mean.as_secs_f64() * 1e6;
    let every = humantime::format_duration(observed.interval);
    let found = format!("{micros:.0} µs a round, {:.2} % of a CPU every {every}", share * 100.0);
    let check = if share > MUCH_CPU {
        Check::warn(ID, found, "read less in a round, or propose a longer interval")
    } else {
        Check::pass(ID, found)
    };
    check.figure("mean_us", micros).figure("percent_of_cpu", share * 100.0)
}

fn rows(observed: &Observed) -> Check {
    const ID: &str = "collect.rows";
    let mut problems = Vec::new();
    let mut shown_rows = Vec::new();
    let mut figures = serde_json::Map::new();
    for seen in &observed.streams {
        let name = shown(&seen.schema.name);
        let Some((fewest, most, all)) = seen.rows.filter(|rows| rows.1 > 0) else {
            if seen.is_event() {
                shown_rows.push(format!("{name} none"));
            } else {
                let mend =
                    "see whether this machine has nothing to read for it, or the plugin misses it";
                problems.push(Check::warn(ID, format!("{name} had no record"), mend));
            }
            continue;
        };
        let range = if fewest == most { format!("{most}") } else { format!("{fewest} to {most}") };
        shown_rows
            .push(format!("{name} {}", if seen.is_event() { all.to_string() } else { range }));
        figures
            .insert(seen.schema.name.clone(), serde_json::json!({"least": fewest, "most": most}));
        if seen.left_out > 0 {
            let found =
                format!("{} records of {name} were beyond the limit of rows", seen.left_out);
            let mend = "deliver fewer, those that matter, and say so in a setting; limits.rows allows more";
            problems.push(Check::fail(ID, found, mend));
        }
    }
    Check::of(ID, problems, shown_rows.join(", ")).figure("rows", figures)
}

fn growth(streams: &[Seen]) -> Check {
    const ID: &str = "collect.growth";
    let mut problems = Vec::new();
    for seen in streams.iter().filter(|seen| !seen.is_event()) {
        let [_, late] = seen.new_in;
        let [_, batches] = seen.batches_in;
        let most = seen.rows.map_or(0, |rows| rows.1);
        let name = shown(&seen.schema.name);
        let found = format!(
            "{name}: {late} of the last {batches} rounds had series never seen before, {} in all, {most} at most in one round",
            seen.series
        );
        let mend = "let keys name things that stay, not what changes with each round";
        if batches < 3 || late * 2 < batches {
            continue;
        }
        // Each round another, or ever more: not the coming and going of processes.
        let endless = late * 10 >= batches * 9 || seen.series >= 3 * most;
        problems.push(if endless {
            Check::fail(ID, found, mend)
        } else {
            Check::warn(ID, found, mend)
        });
    }
    let series: usize = streams.iter().map(|seen| seen.series).sum();
    Check::of(ID, problems, format!("{series} series, no more in each round"))
        .figure("series", series)
}

fn counters(streams: &[Seen], rounds: usize) -> Check {
    const ID: &str = "collect.counters";
    let mut problems = Vec::new();
    for seen in streams {
        for (column, (times, from, to)) in &seen.fallen {
            let name = shown(&seen.schema.name);
            let found =
                format!("`{column}` of {name} fell {times} times: from {from} to {to} once");
            // Some of the kernel's own do, once in a while: the time of waiting for I/O.
            problems.push(if (*times as usize) * 20 > rounds {
                Check::fail(ID, found, "make it a #[gauge], or add up what only grows")
            } else {
                Check::warn(
                    ID,
                    found,
                    "keep the largest value that was read, if it should not fall",
                )
            });
        }
    }
    Check::of(ID, problems, "none fell")
}

/// A quantity over the rounds.
fn over(usage: &[(u32, Usage)], of: impl Fn(&Usage) -> u64) -> Option<Growth> {
    let samples: Vec<(u32, u64)> = usage.iter().map(|(round, usage)| (*round, of(usage))).collect();
    Growth::of(&samples)
}

/// Whether memory leaks: for rounds and for reloads.
pub(super) fn memory_growth(
    id: &'static str,
    growth: Option<Growth>,
    (leak_kib, noise_kib): (f64, u64),
    mend: &str,
) -> Check {
    let Some(Growth { from, to, in_each_half, per_round }) = growth else {
        return Check::skip(id, "too little was seen of it");
    };
    let found = format!("{from} KiB, then {to} KiB");
    let leaks = in_each_half >= noise_kib;
    let grows = format!("{found}: {per_round:.1} KiB more each time");
    let check = match leaks {
        true if per_round >= leak_kib => Check::fail(id, grows, mend),
        true => Check::warn(id, grows, mend),
        false => Check::pass(id, found),
    };
    check
        .figure("from_kib", from)
        .figure("to_kib", to)
        .figure("per_round_kib", if leaks { per_round } else { 0.0 })
}

fn memory(observed: &Observed) -> Check {
    let growth = over(&observed.usage, |usage| usage.memory_kib);
    let mend = "look for what it keeps of each round: a list, a map of what is gone, a cache";
    memory_growth("collect.memory", growth, (LEAK_KIB, NOISE_KIB), mend)
}

fn left(
    id: &'static str,
    what: &str,
    observed: &Observed,
    of: impl Fn(&Usage) -> u64 + Copy,
) -> Check {
    let Some(Growth { from, to, per_round, .. }) = over(&observed.usage, of) else {
        return Check::skip(id, "too little was seen of it");
    };
    let found = format!("{from} {what}, then {to}");
    let mend = format!("close and join what a round has opened and started; those {what} stay");
    let check = match () {
        () if per_round >= 0.5 => Check::fail(id, found, &mend),
        () if per_round > 0.0 => Check::warn(id, found, &mend),
        () => Check::pass(id, found),
    };
    check.figure("from", from).figure("to", to)
}

/// Of those that were left when its process had ended.
pub(super) fn processes(strays: &[String]) -> Check {
    const ID: &str = "collect.processes";
    strays::found(ID, strays).unwrap_or_else(|| Check::pass(ID, "none was left running"))
}

/// Lines of a trial, and of what an event source is listened to; more is warned of.
const MANY_LINES: u32 = 20;

fn log(observed: &Observed, kind: Kind, plan: Plan) -> Check {
    const ID: &str = "collect.log";
    let rounds = observed.rounds.len() as u32;
    let (first, later) = (observed.trial_lines, observed.log_lines);
    let (time, many) = match kind {
        Kind::Polled => (format!("{rounds} rounds"), rounds >= 4 && later >= rounds / 2),
        Kind::Events => (humantime::format_duration(plan.listen).to_string(), later > MANY_LINES),
    };
    let found = format!("{first} lines in its trial, {later} in {time}");
    if first > MANY_LINES || many {
        let example = observed.logged.first().map_or("", String::as_str);
        let found = format!("{found}, such as: {example}");
        return Check::warn(ID, found, "say a thing once, when it changes");
    }
    Check::pass(ID, found).figure("lines", first + later)
}

fn stop(observed: &Observed) -> Vec<Check> {
    let Some((time, outcome)) = &observed.stop else {
        let why = "it had ended before it was asked to stop";
        return vec![Check::skip("stop.time", why), Check::skip("stop.outcome", why)];
    };
    let took = format!("{:.1} ms", ms(*time));
    let (time_check, outcome) = match outcome {
        Ok(()) => (Check::pass("stop.time", took), Check::pass("stop.outcome", "without a word")),
        Err(failure @ crate::runner::Failure::Deadline(_)) => {
            let mend = "wait with out.wait(…), which ends at once when the source is to stop, and join threads quickly";
            let late = Check::fail("stop.time", failure.to_string(), mend);
            (late, Check::skip("stop.outcome", "it was killed"))
        }
        Err(failure) => {
            let mend = "see what its `drop`, or the end of its `run`, does";
            (Check::pass("stop.time", took), Check::fail("stop.outcome", failure.to_string(), mend))
        }
    };
    vec![time_check.figure("ms", ms(*time)), outcome]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_millis(51));
        assert_eq!(percentile(&times, 0.99), Duration::from_millis(100));
        assert_eq!(percentile(&times[..1], 0.99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn an_event_source_that_floods_the_log_is_warned_of_and_its_bad_batches_are_no_rounds() {
        use crate::check::report::Outcome;
        let plan =
            Plan { rounds: 1, listen: Duration::from_secs(2), until: tokio::time::Instant::now() };
        let mut observed = Observed::new(Duration::ZERO);
        observed.log_lines = MANY_LINES;
        assert_eq!(log(&observed, Kind::Events, plan).outcome, Outcome::Pass);
        observed.log_lines += 1;
        let warned = log(&observed, Kind::Events, plan);
        assert_eq!(warned.outcome, Outcome::Warn);
        assert!(warned.findings[0].found.starts_with("0 lines in its trial, 21 in 2s, such as: "));
        observed.failed = 5;
        observed.errors.insert("bad batch".to_owned());
        let found = outcome(&observed, Kind::Events, plan).findings.remove(0).found;
        assert_eq!(found, "5 batches: bad batch");
    }

    #[test]
    fn memory_below_the_noise_is_no_leak() {
        use crate::check::report::Outcome;
        let verdict = |in_each_half, per_round| {
            let growth = Growth { from: 900, to: 1000, in_each_half, per_round };
            memory_growth("collect.memory", Some(growth), (LEAK_KIB, NOISE_KIB), "mend").outcome
        };
        assert_eq!(verdict(60, 6.0), Outcome::Pass);
        assert_eq!(verdict(64, 1.5), Outcome::Warn);
        assert_eq!(verdict(200, 4.5), Outcome::Fail);
    }
}
