//! The conformance kit: what `dropsonde check` holds a plugin file to, before anybody runs it.
//!
//! It uses the agent's own mechanisms: what admission, the trial, a runner or the watch over a
//! thread refuses, fails here in the same words. What the agent would take and somebody be sorry
//! for, such as a leak, is measured here. The plugin never runs in this process: its rounds are
//! those of runner processes, and reloads on threads happen in a child that is sandboxed as they are.

mod catalog;
mod collect;
mod file;
mod observe;
mod output;
mod reload;
mod report;
mod sandbox;
mod series;
mod settings;
mod strays;
mod streams;
mod usage;

use std::path::Path;
use std::time::Duration;

use dropsonde_plugin_api::abi::Manifest;
use tokio::time::Instant;

use crate::admission::{Image, Rejection, Trust, read_and_stage};
use crate::clock;
use crate::config::{CollectorSpec, ConfigError};
use crate::control::Services;
use crate::runner::Failure;
pub(crate) use catalog::CATALOG;
use observe::{Plan, Trial, observe};
pub(crate) use output::note_output;
use reload::Reload;
pub(crate) use reload::serve as serve_reloads;
pub(crate) use report::{Check, Outcome, Report};
use settings::Asked;
pub(crate) use strays::Strays;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds of a polled collector.
    pub(crate) rounds: u32,
    /// Loads on threads of one process.
    pub(crate) reloads: u32,
    /// No more is begun after this time; what is under way ends by its own deadline.
    pub(crate) time: Duration,
}

/// Why something is not tried.
const NO_TIME: &str = "there was no time left";
/// How long an event source is listened to, and how long in a trial of a capability.
const LISTEN: Duration = Duration::from_secs(2);
const LISTEN_BRIEFLY: Duration = Duration::from_millis(500);
/// Rounds in a trial of a capability.
const FEW_ROUNDS: u32 = 4;

/// What to check a plugin with.
pub(crate) struct Bench<'a> {
    pub(crate) services: &'a Services,
    pub(crate) trust: &'a Trust,
    /// What plugins leave running.
    pub(crate) strays: &'a Strays,
    /// The collector that it is checked as.
    pub(crate) spec: &'a dyn Fn(&Manifest) -> Result<CollectorSpec, ConfigError>,
    pub(crate) effort: Effort,
    /// Told what is being done.
    pub(crate) progress: &'a dyn Fn(&str),
}

impl Bench<'_> {
    /// Checks a file. An error is one of the settings that were given for it.
    pub(crate) async fn check(&self, file: &Path) -> Result<Report, ConfigError> {
        let start = clock::monotonic();
        let mut report = Report::new(file);
        let staged = read_and_stage(&self.services.staging, file, 1, self.trust);
        match staged {
            Err(rejection) => file::refused(&mut report, &rejection),
            Ok((mut image, signed_by)) => {
                report.manifest = Some(image.manifest.clone());
                file::admitted(&mut report, &image, signed_by.as_ref(), self.trust);
                let mut spec = (self.spec)(&image.manifest)?;
                // Whatever the configuration says: nobody trusts it yet.
                spec.sandbox = true;
                // Whether it needs each is looked at below.
                spec.allow.clone_from(&image.manifest.capabilities);
                self.run(&mut report, &mut image, &spec).await;
                self.strays.end().await;
            }
        }
        report.finish();
        report.seconds = clock::monotonic().saturating_sub(start).as_secs_f64();
        Ok(report)
    }

    async fn run(&self, report: &mut Report, image: &mut Image, spec: &CollectorSpec) {
        let start = Instant::now();
        let Effort { rounds, reloads, time } = self.effort;
        let until = start + time;
        let kind = image.manifest.kind;
        let plan = Plan { rounds, listen: LISTEN, until: start + time / 2 };
        let say = |what: &str, number: u32, of: u32| {
            (self.progress)(&format!("{what} {number} of {of}"));
        };
        let of_rounds = |round| say("round", round, rounds);
        let observed = observe(self.services, image, spec, plan, &of_rounds).await;
        report.add_all(trial(&observed.trial, spec));
        match &observed.trial {
            Trial::Rejected(_) => return,
            Trial::NotCreated(failure) => {
                report.settings_refused = is_refusal(failure, spec);
                let asked = Asked { services: self.services, image, spec, until };
                report.add_all(asked.checks(report.settings_refused).await);
                return;
            }
            Trial::Passed => {}
        }
        report.add_all(streams::checks(&image.manifest.name, &observed.streams));
        report.add_all(collect::checks(&observed, kind, plan));
        report.add(collect::processes(&self.strays.end().await));
        (self.progress)("settings");
        let asked = Asked { services: self.services, image, spec, until };
        report.add_all(asked.checks(false).await);
        if let Some((_, failure)) = &observed.ended {
            let why = format!("not tried, since it ended in its rounds: {failure}");
            report.add_all(reload::skipped(&why));
            report.add_all(["sandbox.needed", "sandbox.denied"].map(|id| Check::skip(id, &*why)));
            return;
        }
        (self.progress)("sandbox");
        let few = Plan { rounds: FEW_ROUNDS.min(rounds), listen: LISTEN_BRIEFLY, until };
        report.add_all(sandbox::checks(self.services, image, spec, &observed, few).await);
        self.strays.end().await; // told of above
        let of_reloads = |load| say("reload", load, reloads);
        let reload = Reload { image, spec, reloads, until, strays: self.strays };
        report.add_all(reload.checks(self.services, &of_reloads).await);
    }
}

/// Whether it refused settings that it was given, rather than wanted some.
fn is_refusal(failure: &Failure, spec: &CollectorSpec) -> bool {
    matches!(failure, Failure::Settings { .. }) && spec.settings_json() != "{}"
}

/// The agent's own trial.
fn trial(trial: &Trial, spec: &CollectorSpec) -> Vec<Check> {
    let loaded = || Check::pass("trial.load", "it loads, and its types are those of this host");
    match trial {
        Trial::Passed => vec![
            loaded(),
            Check::pass("trial.create", "an instance was created"),
            Check::pass("trial.round", "the agent would admit it"),
        ],
        Trial::NotCreated(failure) => {
            let mend = match failure {
                _ if is_refusal(failure, spec) => "write the settings as it says",
                Failure::Settings { .. } => "give it the settings that it needs, by --settings",
                _ => "let it come up where something is missing, and say what by out.partial(…)",
            };
            vec![loaded(), Check::fail("trial.create", failure.to_string(), mend)]
        }
        Trial::Rejected(failure) => {
            let id = match failure {
                Failure::Load(_) => "trial.load",
                Failure::Schema(_) => "streams.declared",
                _ => "trial.round",
            };
            let found = Rejection::Probe(failure.clone()).to_string();
            let mend = match failure {
                Failure::Load(_) => "", // it says how
                Failure::Deadline(_) => "let create and collect return within the deadline",
                _ => {
                    "run it in a unit test (dropsonde_plugin_api::testing), or in `dropsonde run --log debug`"
                }
            };
            vec![Check::fail(id, found, mend)]
        }
    }
}
