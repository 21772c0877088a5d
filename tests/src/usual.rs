//! What many tests do with an agent.

use serde_json::Value;

use crate::{Agent, Options, fixture, plugin};

impl Agent {
    /// One that runs the fixture `steady`.
    pub fn steady() -> Self {
        let agent = Self::with_plugins("", &[&fixture("steady_v1")]);
        agent.running("steady");
        agent
    }

    /// One that runs these bundled plugins.
    pub fn bundled(names: &[&str], config: &str) -> Self {
        let plugins = names.iter().map(|name| (plugin(name), format!("{name}.so"))).collect();
        let config = config.to_owned();
        let agent = Self::with(Options { config, plugins, ..Options::default() });
        names.iter().for_each(|name| drop(agent.running(name)));
        agent
    }

    /// The batches of a topic that stand on its standard output so far (`--output ndjson`), in the
    /// order in which they were published.
    pub fn published(&self, topic: &str) -> Vec<Value> {
        // Not under the lock: the agent would lose what is not read meanwhile.
        let lines = self.stdout.lock().unwrap().clone();
        let batches = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        batches.filter(|batch| batch["topic"] == topic).collect()
    }

    /// The number of each event of the fixture `pulse`, as [`published`](Self::published).
    pub fn beats(&self) -> Vec<u64> {
        let batches = self.published("events.pulse.beat");
        let records = batches.iter().flat_map(|batch| batch["records"].as_array().unwrap());
        records.map(|record| record["number"].as_u64().unwrap()).collect()
    }
}
