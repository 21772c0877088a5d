//! From the tree of all layers to validated settings, once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dropsonde_plugin_api::abi::Capability;

use super::node::{Node, Tree};
use super::section::{
    Problems, Section, capabilities, count, duration, flag, isolation, path, size, suggestion,
    text, texts,
};
use super::{
    CollectorSpec, Config, Defaults, Limits, Sources, control, history, listen, otlp, trust,
};
use crate::runner::Isolation;
use crate::schedule::MIN_INTERVAL;
use crate::slot::RestartPolicy;

pub(super) fn validate(
    tree: &Node,
    sources: &Sources,
    files: Vec<PathBuf>,
    problems: &mut Problems,
) -> Option<Config> {
    let mut root = Section::new("", Some(tree), problems);
    let mut host = Section::new("host", root.node("host"), problems);
    let listen = listen::read(&mut host, sources, problems);
    let access = listen::access(&mut host, problems);
    let control = control::read(&mut host, sources, problems);
    let state_dir = host.value("state_dir", problems, path);
    let runtime_dir = host.value("runtime_dir", problems, path);
    let log = host.value("log", problems, |node| {
        let levels = ["error", "warn", "info", "debug", "trace"];
        let text = text(node)?;
        if !levels.contains(&text.as_str()) {
            return Err(format!("`{text}` is no level; {}", suggestion(&text, &levels)));
        }
        text.parse::<tracing::Level>().map_err(|error| error.to_string())
    });
    host.finish(problems);

    let mut plugins = Section::new("plugins", root.node("plugins"), problems);
    let directories = plugins.value("directories", problems, texts);
    let autostart = plugins.value("autostart", problems, flag).unwrap_or(true);
    let trust = trust::read(&mut plugins, sources, problems);
    plugins.finish(problems);

    let restart = restart(Section::new("restart", root.node("restart"), problems), problems);
    let mut section = Section::new("defaults", root.node("defaults"), problems);
    let defaults = Defaults {
        interval: section.value("interval", problems, interval),
        deadline: section.value("deadline", problems, duration).unwrap_or(Duration::from_secs(10)),
        isolation: section.value("isolation", problems, isolation).unwrap_or(Isolation::Process),
        limits: limits(&mut section, Limits::default(), problems),
        allow: section.value("allow", problems, capabilities).unwrap_or(vec![Capability::Perf]),
        sandbox: section.value("sandbox", problems, flag).unwrap_or(true),
    };
    section.finish(problems);
    let collectors = collectors(root.node("collectors"), &defaults, problems);
    let otlp = otlp::read(root.node("otlp"), sources, problems);
    let state_dir = state_dir.unwrap_or_else(default_state_dir);
    let history = history::read(root.node("history"), &state_dir, problems);
    root.finish(problems);

    let directories = if sources.plugins.is_empty() {
        directories.map(|list| list.into_iter().map(PathBuf::from).collect())
    } else {
        Some(sources.plugins.clone())
    };
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let directories: Option<Vec<PathBuf>> =
        directories.map(|list: Vec<PathBuf>| list.into_iter().map(absolute).collect());
    Some(Config {
        listen: listen?,
        access,
        control: control?,
        state_dir,
        runtime_dir: runtime_dir.unwrap_or_else(default_runtime_dir),
        log: log.unwrap_or(tracing::Level::INFO),
        directories,
        autostart,
        trust,
        restart,
        otlp,
        defaults,
        history,
        collectors,
        files,
        file: sources.main_file(),
    })
}

fn restart(mut section: Section<'_>, problems: &mut Problems) -> RestartPolicy {
    let default = RestartPolicy::default();
    let policy = RestartPolicy {
        initial: section.value("initial", problems, duration).unwrap_or(default.initial),
        max: section.value("max", problems, duration).unwrap_or(default.max),
        limit: section.value("limit", problems, count).unwrap_or(default.limit),
        window: section.value("window", problems, duration).unwrap_or(default.window),
    };
    if policy.initial > policy.max {
        let at = section.at();
        problems.add(&at, "restart", "`initial` is longer than `max`");
    }
    section.finish(problems);
    policy
}

/// Of one CPU: more CPUs than a kernel can have, and far from where times in a cgroup overflow.
const MAX_CPU_PERCENT: u64 = 1_000_000;

fn limits(section: &mut Section<'_>, base: Limits, problems: &mut Problems) -> Limits {
    let path = section.child("limits");
    let mut section = Section::new(&path, section.node("limits"), problems);
    let count = |node: &Node| count(node).map(|count| count as u64);
    let percent = |node: &Node| match count(node)? {
        percent if percent > MAX_CPU_PERCENT => Err(format!("the most is {MAX_CPU_PERCENT}")),
        percent => Ok(percent),
    };
    let limits = Limits {
        memory: section.value("memory", problems, size).unwrap_or(base.memory),
        open_files: section.value("open_files", problems, count).unwrap_or(base.open_files),
        processes: section.value("processes", problems, count).unwrap_or(base.processes),
        file_size: section.value("file_size", problems, size).unwrap_or(base.file_size),
        rows: section.value("rows", problems, count).unwrap_or(base.rows),
        cpu_percent: section.value("cpu_percent", problems, percent).unwrap_or(base.cpu_percent),
    };
    section.finish(problems);
    limits
}

pub(super) fn interval(node: &Node) -> Result<Duration, String> {
    match duration(node)? {
        short if short < MIN_INTERVAL => {
            Err(format!("the shortest interval is {}", humantime::format_duration(MIN_INTERVAL)))
        }
        interval => Ok(interval),
    }
}

fn collectors(
    node: Option<&Node>,
    defaults: &Defaults,
    problems: &mut Problems,
) -> BTreeMap<String, CollectorSpec> {
    let mut specs = BTreeMap::new();
    let table = match node.map(|node| (&node.tree, node)) {
        Some((Tree::Table(table), _)) => table,
        Some((_, node)) => {
            problems.add(&node.at, "collectors", "expected tables such as [collectors.cpu]");
            return specs;
        }
        None => return specs,
    };
    for (name, node) in table {
        let path = format!("collectors.{name}");
        let good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
            let text = "a collector's name has 1 to 64 characters of a-z, 0-9, `_` and `-`";
            problems.add(&node.key, &path, text);
            continue;
        }
        if name == "timestamp" {
            let text = "snapshots have their time there; choose another name, and `plugin = …`";
            problems.add(&node.key, &path, text);
            continue;
        }
        specs.insert(name.clone(), collector(name, &path, node, defaults, problems));
    }
    specs
}

fn collector(
    name: &str,
    path: &str,
    node: &Node,
    defaults: &Defaults,
    problems: &mut Problems,
) -> CollectorSpec {
    let mut section = Section::new(path, Some(node), problems);
    let plugin = section.value("plugin", problems, text).unwrap_or_else(|| name.to_owned());
    let mut spec = CollectorSpec::with_defaults(name, &plugin, defaults);
    if let Some(enabled) = section.value("enabled", problems, flag) {
        spec.enabled = enabled;
    }
    spec.interval = section.value("interval", problems, interval).or(spec.interval);
    spec.deadline = section.value("deadline", problems, duration).unwrap_or(spec.deadline);
    spec.isolation = section.value("isolation", problems, isolation).unwrap_or(spec.isolation);
    spec.limits = limits(&mut section, spec.limits, problems);
    if let Some(allow) = section.value("allow", problems, capabilities) {
        spec.allow = allow;
    }
    spec.sandbox = section.value("sandbox", problems, flag).unwrap_or(spec.sandbox);
    spec.required = section.value("required", problems, flag).unwrap_or(false);
    spec.at = node.key.clone();
    spec.settings = section.node("settings").cloned();
    if let Some(settings) = &spec.settings
        && !matches!(settings.tree, Tree::Table(_))
    {
        problems.add(&settings.at, &section.child("settings"), "expected a table");
    }
    section.finish(problems);
    spec
}

fn default_state_dir() -> PathBuf {
    let environment = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(given) = environment("STATE_DIRECTORY") {
        return given.into(); // systemd.exec(5)
    }
    if let Some(home) = environment("XDG_STATE_HOME") {
        return PathBuf::from(home).join("dropsonde");
    }
    match environment("HOME") {
        Some(home) => PathBuf::from(home).join(".local/state/dropsonde"),
        None => PathBuf::from("/var/lib/dropsonde"),
    }
}

fn default_runtime_dir() -> PathBuf {
    match std::env::var_os("RUNTIME_DIRECTORY").filter(|value| !value.is_empty()) {
        Some(given) => given.into(), // systemd.exec(5)
        None => std::env::temp_dir(),
    }
}
