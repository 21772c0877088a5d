//! `dropsonde list`: reads the manifests without loading anything, and asks a running host.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::ask::{patiently, put, put_json};
use super::table::Table;
use super::{EX_CONFIG, ListArgs, fail, runtime};
use crate::admission::{ElfError, Trust, inspect, read, scan};
use crate::config::{Config, Control, Sources};
use crate::control::default_directories;
use crate::rpc::client::{Client, ClientError};
use crate::rpc::proto::{Collector, GetStatusRequest, Plugin, Status};
use crate::text::plain;

/// One line of the list.
#[derive(Debug, Default, Serialize)]
struct Row {
    file: String,
    plugin: Option<String>,
    version: Option<String>,
    api_version: Option<String>,
    description: Option<String>,
    /// Why the file as it lies there can't be, or was not, admitted.
    rejection: Option<String>,
    /// Id of the trusted key that signed it.
    signed_by: Option<String>,
    /// What a running host says that it must be told before it can run.
    lacks: Option<String>,
    /// Why it would not be trusted if this user ran a host. A host that runs knows better: it
    /// may be another user's, or have been told to trust.
    #[serde(skip)]
    distrust: Option<String>,
    /// What a running host says of its collectors.
    collectors: Vec<Json>,
}

#[derive(Debug, Serialize)]
struct List {
    /// Control socket of the agent that was asked; none runs if null.
    host: Option<String>,
    /// Why the configuration as it stands in the files is not in use.
    config_rejection: Option<String>,
    plugins: Vec<Row>,
}

pub(super) fn list(args: &ListArgs) -> ExitCode {
    let sources = Sources {
        file: args.config.clone(),
        control: args.control.clone(),
        plugins: args.plugins.clone(),
        environment: Sources::process_environment(),
        ..Sources::default()
    };
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, errors),
    };
    let running = match Running::find(&config.control) {
        Ok(running) => running,
        Err(code) => return code,
    };
    let implicit = config.directories.is_none();
    let directories = config.directories.clone().unwrap_or_else(default_directories);
    let (found, unreadable) = scan(&directories, &HashSet::new());
    for (directory, error) in unreadable.iter().filter(|_| !implicit) {
        super::complain(format_args!("dropsonde: {}: {error}", directory.display()));
    }
    let mut rows: Vec<Row> =
        found.keys().filter_map(|path| Row::read(path, implicit, &config.trust)).collect();
    if let Some(host) = &running {
        // What it doesn't watch is none of its business, unless somebody asked for it.
        if args.plugins.is_empty() {
            rows.retain(|row| {
                host.status.plugins.iter().any(|own| same_file(&own.file, &row.file))
            });
        }
        host.merge(&mut rows);
    }
    for row in &mut rows {
        row.rejection = row.rejection.take().or(row.distrust.take());
    }
    let rejection = running.as_ref().map(|host| host.status.config_rejection.clone());
    let config_rejection = rejection.filter(|rejection| !rejection.is_empty());
    let list = List { host: running.map(|host| host.socket), config_rejection, plugins: rows };
    let printed = if args.json {
        serde_json::to_value(&list).map_err(|error| fail(1, error)).and_then(|json| put_json(&json))
    } else {
        put(&shown(&list))
    };
    match printed {
        Err(code) => code,
        Ok(()) if unreadable.is_empty() || implicit => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

impl Row {
    fn read(path: &Path, implicit: bool, trust: &Trust) -> Option<Self> {
        let mut row = Self { file: path.display().to_string(), ..Self::default() };
        let contents = match read(path) {
            Ok(contents) => contents,
            Err(rejection) => {
                row.rejection = Some(rejection.to_string());
                return Some(row);
            }
        };
        match inspect(&contents.bytes) {
            Ok((manifest, _)) => {
                let (major, minor) = manifest.api_version;
                row.plugin = Some(manifest.name);
                row.version = Some(manifest.version);
                row.api_version = Some(format!("{major}.{minor}"));
                row.description = Some(manifest.description);
                match trust.check(path, &contents) {
                    Ok(trusted) => row.signed_by = trusted.signed_by.map(|key| key.to_string()),
                    Err(rejection) => row.distrust = Some(rejection.to_string()),
                }
            }
            Err(ElfError::NoManifest) if implicit => return None,
            Err(error) => row.rejection = Some(error.to_string()),
        }
        Some(row)
    }
}

/// A host that answered.
struct Running {
    socket: String,
    status: Status,
}

impl Running {
    /// The host that runs, if one does.
    fn find(control: &Control) -> Result<Option<Self>, ExitCode> {
        let Some(path) = control.path() else { return Ok(None) };
        if let Err(why) = control.check() {
            super::complain(format_args!("dropsonde: {why}"));
            return Ok(None);
        }
        let runtime = runtime().map_err(|error| fail(1, error))?;
        runtime.block_on(async {
            let client = match Client::connect(path).await {
                Ok(client) => client,
                Err(ClientError::NoAgent { .. }) if matches!(control, Control::Default(_)) => {
                    return Ok(None);
                }
                Err(error) => {
                    super::complain(format_args!("dropsonde: {error}"));
                    return Ok(None);
                }
            };
            let mut rpc = client.rpc();
            let status = patiently("the agent", rpc.get_status(GetStatusRequest {})).await?;
            let socket = path.display().to_string();
            Ok(Some(Self { socket, status: status.into_inner() }))
        })
    }

    fn merge(&self, rows: &mut Vec<Row>) {
        let mut by_plugin: BTreeMap<&str, Vec<&Collector>> = BTreeMap::new();
        for collector in &self.status.collectors {
            by_plugin.entry(&collector.plugin).or_default().push(collector);
        }
        for plugin in &self.status.plugins {
            let index = rows.iter().position(|row| same_file(&row.file, &plugin.file));
            let row = match index.and_then(|index| rows.get_mut(index)) {
                Some(row) => row,
                None => {
                    rows.push(Row::of(plugin));
                    let last = rows.len() - 1;
                    &mut rows[last]
                }
            };
            row.rejection = row.rejection.take().or(plugin.rejection.clone());
            row.signed_by.clone_from(&plugin.signed_by);
            row.lacks.clone_from(&plugin.lacks);
            row.distrust = None;
            if let Some(own) = by_plugin.remove(plugin.name.as_str()) {
                row.collectors = own.into_iter().map(as_json).collect();
            }
        }
        // Configured, and no file of their plugin is there.
        for (plugin, collectors) in by_plugin {
            let collectors = collectors.into_iter().map(as_json).collect();
            rows.push(Row { plugin: Some(plugin.to_owned()), collectors, ..Row::default() });
        }
    }
}

impl Row {
    fn of(plugin: &Plugin) -> Self {
        let there = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            file: plugin.file.clone(),
            plugin: there(&plugin.name),
            version: there(&plugin.version),
            api_version: there(&plugin.api_version),
            description: there(&plugin.description),
            ..Self::default()
        }
    }
}

/// As /api/v1/collectors names them.
fn as_json(from: &Collector) -> Json {
    let seconds = |duration: &Option<prost_types::Duration>| {
        duration.and_then(|duration| Some(Duration::try_from(duration).ok()?.as_secs_f64()))
    };
    json!({
        "name": from.name,
        "generation": from.generation,
        "isolation": from.isolation,
        "moved": from.moved,
        "sandbox": { "missing": from.sandbox_missing },
        "phase": from.phase,
        "status": from.status,
        "disabled": from.disabled,
        "ready": from.ready,
        "reason": from.reason,
        "restarts": from.restarts,
        "failures": from.failures.iter().collect::<BTreeMap<_, _>>(),
        "last_error": from.last_error,
        "required": from.required,
        "interval_seconds": seconds(&from.interval),
        "paced_interval_seconds": seconds(&from.paced_interval),
        "paced_remaining_seconds": seconds(&from.paced_remaining),
        "streams": from.streams,
        "batches": from.batches,
        "missed_ticks": from.missed_ticks,
        "last_batch_age_seconds": seconds(&from.last_batch_age),
    })
}

fn same_file(a: &str, b: &str) -> bool {
    a == b
        || matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn shown(list: &List) -> String {
    let head = [
        "PLUGIN",
        "VERSION",
        "API",
        "COLLECTOR",
        ">GEN",
        "ISOLATION",
        "PHASE",
        ">RESTARTS",
        ">LAST",
    ];
    let mut table = Table::new(head);
    // What is said below a line of the table.
    let mut remarks: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for row in &list.plugins {
        let name = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let plugin = row.plugin.clone().unwrap_or_else(|| {
            Path::new(&row.file).file_name().unwrap_or_default().to_string_lossy().into_owned()
        });
        let about = [plugin, name(&row.version), name(&row.api_version)];
        if row.collectors.is_empty() {
            table.row(about.clone().into_iter().chain(["-".to_owned()]));
            let plugin = row.plugin.as_deref().unwrap_or_default();
            let lacks = row.lacks.iter().map(|what| {
                format!("not configured: {what}; set it in [collectors.{plugin}.settings]")
            });
            remarks.entry(table.len()).or_default().extend(lacks);
        }
        for collector in &row.collectors {
            table.row(about.clone().into_iter().chain(cells(collector)));
            remarks.entry(table.len()).or_default().extend(remarks_of(collector));
        }
        if let Some(rejection) = &row.rejection {
            let text = format!("rejected: {} {rejection}", row.file);
            remarks.entry(table.len()).or_default().push(text);
        }
    }
    let mut text = match &list.host {
        Some(socket) => {
            let rejection = list.config_rejection.as_deref().unwrap_or_default();
            let lines = rejection.lines().map(|line| format!("configuration rejected: {line}\n"));
            format!("agent at {socket}\n{}", lines.collect::<String>())
        }
        None => "no agent runs; what the files say:\n".to_owned(),
    };
    for (index, line) in table.render().lines().enumerate() {
        text += line;
        text.push('\n');
        for remark in remarks.get(&index).into_iter().flatten() {
            text += &format!("  {}\n", plain(remark));
        }
    }
    text
}

fn cells(collector: &Json) -> [String; 6] {
    let text = |key: &str| collector[key].as_str().unwrap_or("-").to_owned();
    let age = collector["last_batch_age_seconds"].as_f64();
    let phase = if collector["disabled"] == true { "disabled".to_owned() } else { text("phase") };
    [
        text("name"),
        collector["generation"].to_string(),
        text("isolation"),
        phase,
        collector["restarts"].to_string(),
        age.map_or("-".to_owned(), |age| format!("{age:.1} s")),
    ]
}

fn remarks_of(collector: &Json) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(moved) = collector["moved"].as_str() {
        remarks.push(format!("moved to a process: {moved}"));
    }
    if let Some(interval) = collector["paced_interval_seconds"].as_f64() {
        let remaining = collector["paced_remaining_seconds"].as_f64();
        let remaining = remaining.map_or(String::new(), |left| format!(", for {left:.0} s more"));
        remarks.push(format!("paced: each {interval} s{remaining}"));
    }
    let missing = collector["sandbox"]["missing"].as_array();
    for missing in missing.into_iter().flatten().filter_map(Json::as_str) {
        remarks.push(format!("not in its sandbox: {missing}"));
    }
    if let Some(error) = collector["last_error"].as_str() {
        remarks.push(format!("last error: {error}"));
    }
    remarks
}
