//! What was found: one verdict for each check, under an id that stays.

use std::path::{Path, PathBuf};

use dropsonde_plugin_api::abi::Manifest;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::catalog::CATALOG;

/// How a check came out; the worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// All is well.
    Pass,
    /// It could not be looked at, or there is nothing to look at; the finding says why.
    Skip,
    /// The agent takes it, but somebody will be sorry.
    Warn,
    /// The agent refuses it, or it does harm.
    Fail,
}

impl Outcome {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was found; a refusal in the agent's own words.
    pub(crate) found: String,
    /// How to mend it, in one sentence; `None` where there is nothing to mend, or `found` says it.
    pub(crate) mend: Option<String>,
}

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Check {
    /// One of the catalogue: group, dot, name.
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) findings: Vec<Finding>,
    /// Numbers for programs; the unit is in the name.
    pub(crate) figures: Map<String, Json>,
}

/// Most findings of one check: forty columns without a unit are one mistake.
const MAX_FINDINGS: usize = 12;

impl Check {
    fn new(id: &'static str, outcome: Outcome, found: impl Into<String>) -> Self {
        let finding = Finding { found: found.into(), mend: None };
        Self { id, outcome, findings: vec![finding], figures: Map::new() }
    }

    pub(super) fn pass(id: &'static str, found: impl Into<String>) -> Self {
        Self::new(id, Outcome::Pass, found)
    }

    pub(super) fn skip(id: &'static str, why: impl Into<String>) -> Self {
        Self::new(id, Outcome::Skip, why)
    }

    /// `mend` is empty where `found`, in the agent's words, says how.
    pub(super) fn warn(id: &'static str, found: impl Into<String>, mend: &str) -> Self {
        Self::new(id, Outcome::Warn, found).mend(mend)
    }

    /// As `warn`.
    pub(super) fn fail(id: &'static str, found: impl Into<String>, mend: &str) -> Self {
        Self::new(id, Outcome::Fail, found).mend(mend)
    }

    /// The worst of several things that may be wrong; passes with `well` if none is.
    pub(super) fn of(id: &'static str, problems: Vec<Self>, well: impl Into<String>) -> Self {
        let Some(outcome) = problems.iter().map(|problem| problem.outcome).max() else {
            return Self::pass(id, well);
        };
        let mut findings: Vec<Finding> =
            problems.into_iter().flat_map(|problem| problem.findings).collect();
        let beyond = findings.len().saturating_sub(MAX_FINDINGS);
        if beyond > 0 {
            findings.truncate(MAX_FINDINGS);
            findings.push(Finding { found: format!("and {beyond} more"), mend: None });
        }
        Self { id, outcome, findings, figures: Map::new() }
    }

    fn mend(mut self, mend: &str) -> Self {
        if !mend.is_empty() {
            self.findings.iter_mut().for_each(|finding| finding.mend = Some(mend.to_owned()));
        }
        self
    }

    pub(super) fn figure(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// What it is about: `elf`, `streams`, `collect`.
    pub(crate) fn group(&self) -> &'static str {
        group_of(self.id)
    }

    fn json(&self) -> Json {
        json!({
            "id": self.id,
            "group": self.group(),
            "outcome": self.outcome,
            "findings": self.findings,
            "figures": self.figures,
        })
    }
}

fn group_of(id: &'static str) -> &'static str {
    id.split_once('.').map_or(id, |(group, _)| group)
}

/// All that was found of one plugin file.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) file: PathBuf,
    /// `None`: the file could not even be read as a plugin.
    pub(crate) manifest: Option<Manifest>,
    /// In the order of the catalogue, once it is finished.
    pub(crate) checks: Vec<Check>,
    /// The file is not there, or can't be read.
    pub(crate) unreadable: bool,
    /// It refused the settings that it was given.
    pub(crate) settings_refused: bool,
    /// How long it all took.
    pub(crate) seconds: f64,
}

impl Report {
    pub(super) fn new(file: &Path) -> Self {
        let file = file.to_owned();
        Self {
            file,
            manifest: None,
            checks: Vec::new(),
            unreadable: false,
            settings_refused: false,
            seconds: 0.0,
        }
    }

    pub(super) fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    pub(super) fn add_all(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    /// Puts the checks in order, those that were not come to as skipped.
    pub(super) fn finish(&mut self) {
        let stopped_by = self.checks.iter().find(|check| check.outcome == Outcome::Fail);
        let why = match stopped_by {
            Some(check) => format!("not tried, since {} failed", check.id),
            None => "does not apply".to_owned(),
        };
        let mut done = std::mem::take(&mut self.checks);
        for (id, _) in CATALOG {
            let at = done.iter().position(|check| check.id == id);
            let check = at.map(|at| done.swap_remove(at));
            self.checks.push(check.unwrap_or_else(|| Check::skip(id, &*why)));
        }
    }

    /// The worst of all.
    pub(crate) fn outcome(&self) -> Outcome {
        self.checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Skip)
    }

    /// How many came out so.
    pub(crate) fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.outcome == outcome).count()
    }

    /// The checks by group, in order.
    pub(crate) fn groups(&self) -> Vec<(&'static str, Vec<&Check>)> {
        let mut groups: Vec<(&'static str, Vec<&Check>)> = Vec::new();
        for check in &self.checks {
            match groups.last_mut().filter(|(group, _)| *group == check.group()) {
                Some((_, checks)) => checks.push(check),
                None => groups.push((check.group(), vec![check])),
            }
        }
        groups
    }

    /// For programs. Ids and the names of figures stay; texts may change.
    pub(crate) fn json(&self) -> Json {
        json!({
            "file": self.file.to_string_lossy(),
            "plugin": self.manifest,
            "outcome": if self.outcome() == Outcome::Skip { Outcome::Pass } else { self.outcome() },
            "passed": self.count(Outcome::Pass),
            "skipped": self.count(Outcome::Skip),
            "warned": self.count(Outcome::Warn),
            "failed": self.count(Outcome::Fail),
            "seconds": self.seconds,
            "checks": self.checks.iter().map(Check::json).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_of_the_catalogue_has_one_verdict_in_its_order() {
        let mut report = Report::new(Path::new("libx.so"));
        report.add(Check::fail("elf.intact", "is cut short", ""));
        report.add(Check::pass("file.read", "3 bytes"));
        report.finish();
        let ids: Vec<&str> = report.checks.iter().map(|check| check.id).collect();
        assert_eq!(ids, CATALOG.map(|(id, _)| id));
        assert_eq!((report.outcome(), report.count(Outcome::Fail)), (Outcome::Fail, 1));
        let last = report.checks.last().unwrap();
        assert_eq!(last.outcome, Outcome::Skip);
        assert_eq!(last.findings[0].found, "not tried, since elf.intact failed");
    }

    #[test]
    fn many_findings_of_one_kind_are_cut_and_counted() {
        let problems = (0..20).map(|n| Check::warn("streams.unit", format!("{n}"), "so")).collect();
        let check = Check::of("streams.unit", problems, "well");
        assert_eq!(check.findings.len(), MAX_FINDINGS + 1);
        assert_eq!(check.findings[MAX_FINDINGS].found, "and 8 more");
        assert_eq!(check.outcome, Outcome::Warn);
    }
}
