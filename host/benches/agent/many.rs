//! A thousand collectors at mixed intervals in one agent, in process mode, since no more than 256
//! libraries are loaded into the agent itself. They read nothing, so what is seen is what
//! the agent adds. Beside it the same rounds alone: one runner process without an agent, both
//! sides; at the same intervals, each round of which is cold, and one after another.

use std::time::Duration;

use dropsonde::Isolation;
use dropsonde::bench::{Runner, Runners};
use tokio::runtime::Runtime;

use crate::measure::{median, per};
use crate::table::{Figure, Row};
use crate::whole_agent::{Agent, in_window, to_half_second};
use crate::{Effort, build, clock};

const COLLECTORS: usize = 1000;
/// As long as the longest interval.
const WINDOW: Duration = Duration::from_secs(10);

/// A tenth each 100 ms, three tenths each second, the others each ten.
fn interval(index: usize) -> Duration {
    match index % 10 {
        0 => Duration::from_millis(100),
        1..4 => Duration::from_secs(1),
        _ => WINDOW,
    }
}

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let per_second = |interval: Duration| {
        let of_it = (0..COLLECTORS).filter(|index| self::interval(*index) == interval).count();
        of_it as f64 / interval.as_secs_f64()
    };
    let fast = Duration::from_millis(100);
    let slow = Duration::from_secs(1);
    let mut alone = Alone::start();
    let hot_round = alone.rounds(Duration::ZERO, 5_000 / u64::from(effort.haste));
    let fast_round = alone.rounds(fast, 50 / u64::from(effort.haste));
    let slow_round = alone.rounds(slow, 10 / u64::from(effort.haste.min(2))); // 10 s is not colder
    alone.stop();
    let (often, seldom) = (per_second(fast), per_second(slow) + per_second(WINDOW));
    let hot = Figure::Microseconds((often + seldom) * hot_round / 1e3);
    let paced = Figure::Microseconds((often * fast_round + seldom * slow_round) / 1e3);
    let agent = Agent::of_still(COLLECTORS, "process", interval);
    agent.settle(effort);
    let counts = || ["missed_ticks", "rounds"].map(|count| agent.sum(count));
    let [at_start, rounds_before] = counts();
    to_half_second();
    let windows = (0..3_u32.div_ceil(effort.haste)).map(|_| in_window(agent.pid(), WINDOW, || ()));
    let cost = Figure::Microseconds(median(windows.collect()));
    let [missed, rounds] = counts();
    let (missed, rounds) = (missed - at_start, rounds - rounds_before);
    let work = "1,000 collectors that read nothing, at 100 ms, 1 s and 10 s, CPU per second";
    let late = |when: &str, count: u64| Row::alone(when, Figure::Number(count as f64));
    vec![
        Row::new(work, cost, "the same rounds of one alone, at these intervals", paced),
        Row::new(work, cost, "the same rounds of one alone, one after another", hot),
        late(&format!("of their {} ticks in these seconds, missed", rounds + missed), missed),
        late("of their ticks while they were being started, missed", at_start),
    ]
}

/// A runner process that is asked for rounds by nobody but this program.
struct Alone {
    runtime: Runtime,
    _runners: Runners,
    runner: Runner,
    child: u32,
}

impl Alone {
    fn start() -> Self {
        let runtime = crate::runtime();
        let runners = runtime.block_on(async { Runners::new() }).unwrap();
        let still = build::fixture("bench_still");
        let start = runners.start(&still, Isolation::Process);
        let runner = runtime.block_on(start).unwrap();
        let child = clock::children(std::process::id())[0];
        Self { runtime, _runners: runners, runner, child }
    }

    /// CPU nanoseconds of a round, with such pauses.
    fn rounds(&mut self, pause: Duration, rounds: u64) -> f64 {
        let child = self.child;
        let cpu = || clock::own() + clock::of(child);
        let start = cpu();
        for _ in 0..rounds {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            assert_eq!(self.runtime.block_on(self.runner.round()), Ok(1));
        }
        per(cpu() - start, rounds)
    }

    fn stop(self) {
        self.runtime.block_on(self.runner.stop());
    }
}
