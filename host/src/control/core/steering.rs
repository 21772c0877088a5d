//! Orders of a person, carried out.

use std::collections::BTreeSet;
use std::time::Duration;

use dropsonde_plugin_api::abi::Kind;
use humantime::format_duration;

use super::Core;
use crate::config::{CollectorSpec, suggestion};
use crate::control::Command;
use crate::control::steer::{Order, SteerError};
use crate::slot::{SlotCommand, SlotStatus};

impl Core {
    /// Whether anything is different from before.
    pub(super) fn steer(&mut self, collector: &str, order: Order) -> Result<bool, SteerError> {
        let Some(own) = self.configured(collector) else { return Err(self.unknown(collector)) };
        match order {
            Order::Restart => {
                self.restart(collector)?;
                self.note(collector, "restarted by request");
                Ok(true)
            }
            Order::Enable(enabled) => {
                let changed = self.steering.apply(own).enabled != enabled;
                self.steering.enable(collector, enabled);
                if changed {
                    let what = if enabled { "enabled" } else { "disabled" };
                    self.note(collector, &format!("{what} by request"));
                    self.apply();
                }
                Ok(changed)
            }
            Order::Pace(interval, lasting) => {
                let image = self.plugins.image(&own.plugin);
                if image.is_some_and(|image| image.manifest.kind == Kind::Events) {
                    return Err(SteerError::NoRounds(collector.to_owned()));
                }
                let number = self.steering.pace(collector, interval, lasting);
                if let (Some(_), Some(lasting)) = (interval, lasting) {
                    self.end_pace_after(lasting, collector, number);
                }
                let shown = |duration: Duration| format_duration(duration).to_string();
                let every = interval
                    .map_or("its own interval".into(), |every| format!("each {}", shown(every)));
                let lasting = lasting.map_or(String::new(), |time| format!(" for {}", shown(time)));
                self.note(collector, &format!("by request: {every}{lasting}"));
                Ok(!self.apply().is_empty())
            }
            Order::Unpace(number) => {
                self.steering.unpace(collector, number);
                Ok(!self.apply().is_empty())
            }
        }
    }

    /// In the host's log, and in the collector's.
    fn note(&self, collector: &str, what: &str) {
        tracing::info!(collector, "{what}");
        self.services.logs.keep(collector, tracing::Level::INFO, what);
    }

    fn restart(&self, collector: &str) -> Result<(), SteerError> {
        if let Some(running) = self.slots.get(collector) {
            running.handle.send(SlotCommand::Restart);
            return Ok(());
        }
        let idle = self.idle().into_iter().find(|status| status.name == collector);
        match idle.and_then(|status| status.last_error) {
            Some(reason) => Err(SteerError::Absent { collector: collector.to_owned(), reason }),
            None => Err(SteerError::Disabled(collector.to_owned())),
        }
    }

    fn end_pace_after(&self, lasting: Duration, collector: &str, number: u64) {
        let (commands, collector) = (self.commands.clone(), collector.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(lasting).await;
            let order = Order::Unpace(number);
            let _ = commands.send(Command::Steer { collector, order, done: None }); // ended
        });
    }

    /// A collector without what was asked of it: the files' own, or a plugin's by itself.
    fn configured(&self, collector: &str) -> Option<CollectorSpec> {
        if let Some(spec) = self.config.collectors.get(collector) {
            return Some(spec.clone());
        }
        self.autostarted(collector)
    }

    fn unknown(&self, collector: &str) -> SteerError {
        let plugins = self.plugins.images().map(|image| image.manifest.name.as_str());
        let names = self.config.collectors.keys().map(String::as_str).chain(plugins);
        let names: BTreeSet<&str> = names.filter(|name| self.configured(name).is_some()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let hint = if names.is_empty() {
            "none is there yet".to_owned()
        } else {
            suggestion(collector, &names)
        };
        SteerError::Unknown { collector: collector.to_owned(), hint }
    }

    /// Collectors that are there and don't run.
    pub(super) fn idle(&self) -> Vec<SlotStatus> {
        let configured = self.config.collectors.values().cloned();
        let plugins = self.plugins.images().map(|image| &image.manifest.name);
        let automatic = plugins.filter_map(|plugin| self.autostarted(plugin));
        let own = configured.chain(automatic).map(|own| (own.enabled, self.steering.apply(own)));
        own.filter_map(|(by_file, spec)| {
            if !spec.enabled {
                let required = spec.required && by_file; // a person stopped what is needed
                return Some(SlotStatus { disabled: true, required, ..SlotStatus::new(&spec) });
            }
            let lacks_plugin = self.plugins.image(&spec.plugin).is_none();
            lacks_plugin.then(|| {
                let last_error = Some(self.no_plugin(&spec.plugin));
                SlotStatus { last_error, ..SlotStatus::new(&spec) }
            })
        })
        .collect()
    }

    fn no_plugin(&self, plugin: &str) -> String {
        let looked: Vec<String> =
            self.directories().iter().map(|path| path.display().to_string()).collect();
        format!("there is no plugin `{plugin}` in {}; put its .so there", looked.join(", "))
    }
}
