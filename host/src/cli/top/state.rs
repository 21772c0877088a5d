//! What is known of the agent, and what of it is shown.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::draw::Palette;
use super::feed::Deed;
use super::format;
use super::opened::Opened;
use crate::model::Batch;
use crate::rpc::proto::{Collector, LogLine, Status};

/// Shares of CPU time that are kept for the curve: more than a terminal is wide.
const HISTORY: usize = 512;

/// A stream of a bundled plugin that a panel shows. Its collector may be called otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    plugin: &'static str,
    /// Empty for the plugin's nameless stream.
    stream: &'static str,
}

pub(super) const CPU: Source = Source { plugin: "cpu", stream: "" };
pub(super) const CORES: Source = Source { plugin: "cpu", stream: "cores" };
pub(super) const MEMORY: Source = Source { plugin: "memory", stream: "" };
pub(super) const PRESSURE: Source = Source { plugin: "pressure", stream: "" };
pub(super) const INTERFACES: Source = Source { plugin: "network", stream: "interfaces" };
pub(super) const DEVICES: Source = Source { plugin: "disk", stream: "devices" };
pub(super) const MOUNTS: Source = Source { plugin: "disk", stream: "partitions" };
const SOURCES: [Source; 7] = [CPU, CORES, MEMORY, PRESSURE, INTERFACES, DEVICES, MOUNTS];

impl Source {
    fn topic(self, collector: &Collector) -> String {
        let dot = if self.stream.is_empty() { "" } else { "." };
        format!("metrics.{}{dot}{}", collector.name, self.stream)
    }
}

/// Whether the agent answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// It has not been heard yet.
    Waiting,
    Up,
    /// Why it does not.
    Away(String),
}

/// The order of the collectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    WorstFirst,
}

/// What came of a deed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) text: String,
    pub(super) is_bad: bool,
}

impl Told {
    pub(super) fn good(text: String) -> Self {
        Self { text, is_bad: false }
    }

    pub(super) fn bad(text: String) -> Self {
        Self { text, is_bad: true }
    }
}

pub(super) struct State {
    pub(super) palette: Palette,
    pub(super) link: Link,
    /// The last that was told; its collectors are in the order that they are shown in.
    pub(super) status: Option<Status>,
    /// CPU time of the agent itself, as a percentage of one CPU, between the last two.
    pub(super) own_percent: Option<f64>,
    /// When the last status came, and the agent's CPU time then.
    measured: Option<(Duration, Duration)>,
    /// The last batch of each stream that a panel shows, by topic.
    batches: HashMap<String, Batch>,
    /// Shares of CPU time, newest first.
    pub(super) history: VecDeque<f64>,
    /// Name of the collector that keys act on.
    pub(super) selected: Option<String>,
    pub(super) order: Order,
    /// Figures stay as they are.
    pub(super) paused: bool,
    pub(super) help: bool,
    /// The collector that is looked into.
    pub(super) opened: Option<Opened>,
    /// What waits for a yes.
    pub(super) question: Option<(Deed, String)>,
    pub(super) told: Option<Told>,
}

impl State {
    pub(super) fn new(palette: Palette) -> Self {
        Self {
            palette,
            link: Link::Waiting,
            status: None,
            own_percent: None,
            measured: None,
            batches: HashMap::new(),
            history: VecDeque::new(),
            selected: None,
            order: Order::Name,
            paused: false,
            help: false,
            opened: None,
            question: None,
            told: None,
        }
    }

    /// Takes what the agent told at `now`, on the monotonic clock.
    pub(super) fn take_status(&mut self, answer: Result<Box<Status>, String>, now: Duration) {
        let status = match answer {
            Ok(status) => *status,
            Err(reason) => {
                self.link = Link::Away(reason);
                self.measured = None;
                return;
            }
        };
        self.link = Link::Up;
        if self.paused {
            return;
        }
        let cpu = status.agent.as_ref().and_then(|agent| format::duration(agent.cpu.as_ref()));
        self.own_percent = self.measured.zip(cpu).and_then(|((before, used), cpu)| {
            let passed = now.checked_sub(before).filter(|passed| !passed.is_zero())?;
            Some(cpu.checked_sub(used)?.as_secs_f64() / passed.as_secs_f64() * 100.0)
        });
        self.measured = cpu.map(|cpu| (now, cpu));
        self.status = Some(status);
        self.arrange();
        let shown = self.panel_topics();
        self.batches.retain(|topic, _| shown.contains(topic));
    }

    pub(super) fn take_batch(&mut self, batch: Batch) {
        if let Some(opened) = &mut self.opened
            && opened.collector == *batch.stream.collector
        {
            opened.take_batch(&batch);
        }
        let topic = &batch.stream.topic;
        let is_of = |source| self.topic(source).is_ok_and(|of_panel| of_panel == *topic);
        let [is_cpu, is_shown] = [is_of(CPU), SOURCES.into_iter().any(is_of)];
        if is_cpu
            && !self.has(&batch)
            && let Some(percent) = format::number(&batch, 0, "usage_percent")
        {
            self.history.truncate(HISTORY - 1);
            self.history.push_front(percent);
        }
        if is_shown {
            self.batches.insert(topic.clone(), batch);
        }
    }

    /// Whether this very read came before: two subscriptions may bring it.
    fn has(&self, batch: &Batch) -> bool {
        let last = self.batches.get(&batch.stream.topic);
        last.is_some_and(|last| last.sequence == batch.sequence && last.wall == batch.wall)
    }

    pub(super) fn begin_log(&mut self, collector: &str) {
        if let Some(opened) = self.opened.as_mut().filter(|one| one.collector == collector) {
            opened.log.clear();
        }
    }

    pub(super) fn take_log(&mut self, collector: &str, line: LogLine) {
        if let Some(opened) = self.opened.as_mut().filter(|one| one.collector == collector) {
            opened.take_log(line);
        }
    }

    /// All collectors, in the order that they are shown in.
    pub(super) fn collectors(&self) -> &[Collector] {
        self.status.as_ref().map_or(&[], |status| &status.collectors)
    }

    pub(super) fn collector(&self, name: &str) -> Option<&Collector> {
        self.collectors().iter().find(|collector| collector.name == name)
    }

    /// Index of the selected collector; the first if it has gone.
    pub(super) fn selected_row(&self) -> usize {
        let selected = self.selected.as_deref();
        let at = |collector: &Collector| Some(collector.name.as_str()) == selected;
        self.collectors().iter().position(at).unwrap_or(0)
    }

    /// The collector that keys act on: the one that is looked into, or the selected one.
    pub(super) fn subject(&self) -> Option<&Collector> {
        match &self.opened {
            Some(opened) => self.collector(&opened.collector),
            None => self.collectors().get(self.selected_row()),
        }
    }

    /// Moves the selection; it stays within the list.
    pub(super) fn select(&mut self, by: isize) {
        let last = self.collectors().len().saturating_sub(1);
        let row = self.selected_row().saturating_add_signed(by).min(last);
        self.selected = self.collectors().get(row).map(|collector| collector.name.clone());
    }

    pub(super) fn set_order(&mut self, order: Order) {
        self.selected = self.subject().map(|collector| collector.name.clone());
        self.order = order;
        self.arrange();
    }

    fn arrange(&mut self) {
        let Some(status) = &mut self.status else { return };
        match self.order {
            Order::Name => status.collectors.sort_by(|a, b| a.name.cmp(&b.name)),
            Order::WorstFirst => status.collectors.sort_by(|a, b| {
                let by = |one: &Collector| (badness(one), one.restarts);
                by(b).cmp(&by(a)).then_with(|| a.name.cmp(&b.name))
            }),
        }
    }

    /// The streams of the panels that are there.
    pub(super) fn panel_topics(&self) -> Vec<String> {
        SOURCES.into_iter().filter_map(|source| self.topic(source).ok()).collect()
    }

    /// The topic of a panel's stream, or why there is none.
    fn topic(&self, source: Source) -> Result<String, String> {
        let collector = self.serving(source)?;
        let topic = source.topic(collector);
        if collector.streams.contains(&topic) {
            return Ok(topic);
        }
        Err(why_silent(collector).unwrap_or_else(|| format!("`{}` has not begun", collector.name)))
    }

    /// The collector of a panel: the plugin's namesake, otherwise its first.
    fn serving(&self, Source { plugin, .. }: Source) -> Result<&Collector, String> {
        if self.status.is_none() {
            return Err("the agent has not told its state yet".to_owned());
        }
        let of_plugin = || self.collectors().iter().filter(|one| one.plugin == plugin);
        let namesake = of_plugin().find(|one| one.name == plugin);
        let first = || of_plugin().min_by(|a, b| a.name.cmp(&b.name));
        namesake.or_else(first).ok_or_else(|| format!("no collector of plugin `{plugin}`"))
    }

    /// The last batch of a panel's stream, or why there is none.
    pub(super) fn look(&self, source: Source) -> Result<&Batch, String> {
        let collector = self.serving(source)?;
        if let Some(reason) = why_silent(collector) {
            return Err(reason);
        }
        let batch = self.batches.get(&self.topic(source)?);
        batch.ok_or_else(|| format!("`{}` has not delivered yet", collector.name))
    }

    /// Why a value that a stream has is missing, in words of its collector.
    pub(super) fn why_missing(&self, source: Source) -> String {
        let error = self.serving(source).ok().and_then(|one| one.last_error.clone());
        error.unwrap_or_else(|| "the machine does not tell".to_owned())
    }
}

/// What a person calls the state of a collector.
pub(super) fn phase(collector: &Collector) -> &str {
    if collector.disabled { "disabled" } else { &collector.phase }
}

/// Higher is worse. One that somebody disabled is as wanted.
pub(super) fn badness(collector: &Collector) -> u8 {
    match phase(collector) {
        "quarantined" => 5,
        "backing_off" => 4,
        "degraded" => 3,
        "starting" | "stopping" => 2,
        "running" => 1,
        "disabled" => 0,
        _ => 3, // stopped, and what newer agents may know
    }
}

/// Why a collector delivers nothing; `None` if it does.
fn why_silent(collector: &Collector) -> Option<String> {
    let phase = phase(collector);
    if matches!(phase, "running" | "degraded" | "starting") {
        return None;
    }
    let reason = collector.last_error.as_ref().filter(|_| !collector.disabled);
    let colon = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("`{}` is {phase}{colon}", collector.name))
}
