//! What the plugin may do beyond reading: whether it needs each capability that it asks for, and
//! whether it tries something that it does not ask for. Each is found out by a few rounds of a
//! fresh process with other capabilities.

use dropsonde_plugin_api::abi::Capability;
use tokio::time::Instant;

use super::NO_TIME;
use super::observe::{Observed, Plan, Trial, observe};
use super::report::Check;
use crate::admission::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::shown;
use crate::runner::Sandbox;

/// How a column's share of missing values must grow to be the sandbox's doing.
const GAP: f64 = 0.1;

/// What EPERM and EACCES look like in a message.
const DENIALS: [&str; 4] =
    ["Operation not permitted", "Permission denied", "os error 1)", "os error 13)"];

pub(super) async fn checks(
    services: &Services,
    image: &mut Image,
    spec: &CollectorSpec,
    usual: &Observed,
    plan: Plan,
) -> Vec<Check> {
    let mut trials = Trials { services, image, spec, plan };
    vec![trials.needed(usual).await, trials.denied(usual).await]
}

/// What the sandbox leaves open here it may deny elsewhere.
fn not_in_force(sandbox: Option<&Sandbox>) -> String {
    match sandbox.map(|sandbox| sandbox.missing.as_slice()) {
        None | Some([]) => String::new(),
        Some(missing) => format!(" (not in force: {})", missing.join("; ")),
    }
}

struct Trials<'a> {
    services: &'a Services,
    image: &'a mut Image,
    spec: &'a CollectorSpec,
    plan: Plan,
}

impl Trials<'_> {
    fn is_late(&self) -> bool {
        Instant::now() > self.plan.until
    }

    async fn with(&self, allow: Vec<Capability>) -> Observed {
        let mut spec = self.spec.clone();
        spec.allow = allow;
        observe(self.services, self.image, &spec, self.plan, &|_| {}).await
    }

    /// The rounds as they would be if its manifest asked for this too.
    async fn as_if_asked(&mut self, more: Capability) -> Observed {
        let asked = self.image.manifest.capabilities.clone();
        let allow: Vec<Capability> = asked.iter().copied().chain([more]).collect();
        self.image.manifest.capabilities.clone_from(&allow);
        let observed = self.with(allow).await;
        self.image.manifest.capabilities = asked;
        observed
    }

    async fn needed(&self, usual: &Observed) -> Check {
        const ID: &str = "sandbox.needed";
        let asked = self.image.manifest.capabilities.clone();
        let mut needs = Vec::new();
        let mut problems = Vec::new();
        for taken in &asked {
            if self.is_late() {
                problems.push(Check::skip(ID, NO_TIME));
                break;
            }
            let rest = asked.iter().copied().filter(|other| other != taken).collect();
            let without = self.with(rest).await;
            let name = taken.name();
            match difference(usual, &without) {
                Some(what) => needs.push(format!("`{name}`: without it {what}")),
                None => {
                    let found = format!("`{name}` made no difference here");
                    let mend = "leave it out of capabilities = […], unless other machines or settings need it";
                    problems.push(Check::warn(ID, found, mend));
                }
            }
        }
        let well = match asked.is_empty() {
            true => "it asks for nothing".to_owned(),
            false => needs.join("; "),
        };
        Check::of(ID, problems, well)
    }

    async fn denied(&mut self, usual: &Observed) -> Check {
        const ID: &str = "sandbox.denied";
        let not_in_force = not_in_force(usual.sandbox.as_ref());
        if denials(usual).is_empty() {
            return Check::pass(ID, format!("nothing{not_in_force}"));
        }
        if self.is_late() {
            return Check::skip(ID, NO_TIME);
        }
        // What comes now and then would seem to be cured by anything.
        let asked = self.image.manifest.capabilities.clone();
        let denied = denials(&self.with(asked.clone()).await);
        let Some(example) = denied.first() else {
            return Check::pass(ID, format!("nothing that comes again{not_in_force}"));
        };
        for capability in Capability::ALL {
            if self.is_late() {
                let found =
                    format!("{example}; which capability allows it is not known: {NO_TIME}");
                return Check::warn(ID, found, "give it more by --time");
            }
            if asked.contains(&capability)
                || !is_cured(&denied, &self.as_if_asked(capability).await)
            {
                continue;
            }
            let name = capability.name();
            let mend = format!(
                "add {capability:?} to capabilities = […] of export_plugin!, and tell users to allow \"{name}\""
            );
            return Check::fail(ID, format!("{example}; `{name}` allows it"), &mend);
        }
        // Which of the two, only letting it do so would tell.
        let found =
            format!("{example}; no capability allows it: the sandbox or this machine denies it");
        Check::warn(ID, found, "do without, or write to host.state_dir() alone")
    }
}

/// What it said of being denied something.
fn denials(observed: &Observed) -> Vec<String> {
    observed.said().filter(|text| DENIALS.iter().any(|denial| text.contains(denial))).collect()
}

/// Whether something is no longer denied, by whatever part of the sandbox.
fn is_cured(denied: &[String], now: &Observed) -> bool {
    let ended = matches!(now.trial, Trial::Rejected(_)) || now.ended.is_some();
    !ended && is_any_gone(denied, &denials(now))
}

fn is_any_gone(denied: &[String], left: &[String]) -> bool {
    let left: Vec<String> = left.iter().map(|text| without_cause(text)).collect();
    !denied.iter().all(|what| left.iter().any(|text| is_alike(text, &without_cause(what))))
}

/// What was denied, and not by which error: Landlock answers EACCES, seccomp EPERM.
fn without_cause(text: &str) -> String {
    DENIALS.iter().fold(text.to_owned(), |text, denial| text.replace(denial, ""))
}

/// Whether two texts say the same, of another process or file maybe.
fn is_alike(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|character: char| character.is_ascii_digit());
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    words(one) == words(other)
}

/// What is worse with less allowed: an error, fewer records, more missing values.
fn difference(usual: &Observed, less: &Observed) -> Option<String> {
    match &less.trial {
        Trial::Passed => {}
        Trial::NotCreated(failure) | Trial::Rejected(failure) => return Some(failure.to_string()),
    }
    if let (None, Some((_, failure))) = (&usual.ended, &less.ended) {
        return Some(failure.to_string());
    }
    if usual.failed == 0 && less.failed > 0 {
        return less.errors.first().cloned();
    }
    let is_new = |text: &&String| !usual.said().any(|said| is_alike(&said, text));
    if let Some(part) = less.partial.iter().find(is_new) {
        return Some(format!("partial: {part}"));
    }
    if let Some(line) = denials(less).iter().find(is_new) {
        return Some(line.clone());
    }
    usual.streams.iter().zip(&less.streams).find_map(|(usual, less)| {
        let name = shown(&usual.schema.name);
        let fewest = usual.later_rows.or(usual.rows.map(|rows| (rows.0, rows.1)))?.0;
        let most = less.rows.map_or(0, |rows| rows.1);
        if usual.is_event() {
            let none = usual.rows.is_some() && less.rows.is_none();
            return none.then(|| format!("no event of {name}"));
        }
        if most * 2 < fewest {
            return Some(format!("{most} records of {name}, not {fewest}"));
        }
        let columns = usual.schema.columns.iter().zip(usual.gaps.iter().zip(&less.gaps));
        columns.into_iter().find_map(|(column, (usual, less))| {
            let (most, least) = ((*usual)?.1, (*less)?.0);
            (least > most + GAP).then(|| {
                format!(
                    "`{}` of {name} is missing in {:.0} % of the records, not {:.0} %",
                    column.name,
                    least * 100.0,
                    most * 100.0
                )
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_of_another_process_is_the_same() {
        let denied = "/proc/12/io: Permission denied (os error 13)";
        assert!(is_alike(denied, "/proc/4711/io: Permission denied (os error 13)"));
        assert!(!is_alike(denied, "/proc/12/maps: Permission denied (os error 13)"));
    }

    #[test]
    fn what_is_denied_by_another_error_is_not_cured() {
        let denied = ["a: Permission denied (os error 13)", "b: Permission denied (os error 13)"];
        let now_by_seccomp = denied.map(|text| {
            text.replace("Permission denied (os error 13)", "Operation not permitted (os error 1)")
        });
        let denied = denied.map(str::to_owned);
        assert!(!is_any_gone(&denied, &now_by_seccomp));
        assert!(is_any_gone(&denied, &now_by_seccomp[1..]));
        assert!(is_any_gone(&denied, &[]));
    }
}
