//! `dropsonde list`: reads the manifests without loading anything, and asks a running host.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use super::{EX_CONFIG, ListArgs, fail};
use crate::admission::{ElfError, MAX_FILE, inspect, scan};
use crate::config::Config;
use crate::control::default_directories;

/// One line of the list.
#[derive(Debug, Serialize)]
struct Row {
    file: String,
    plugin: Option<String>,
    version: Option<String>,
    api_version: Option<String>,
    description: Option<String>,
    /// Why the file as it lies there can't be, or was not, admitted.
    rejection: Option<String>,
    /// What a running host says of its collectors.
    collectors: Vec<Json>,
}

#[derive(Debug, Serialize)]
struct List {
    /// Address of the host that was asked; none runs if null.
    host: Option<String>,
    plugins: Vec<Row>,
}

pub(super) fn list(args: &ListArgs) -> ExitCode {
    let config = match Config::load(&args.common.sources()) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, errors),
    };
    let running = ask(&config);
    let implicit = config.directories.is_none();
    let directories = config.directories.clone().unwrap_or_else(default_directories);
    let (found, unreadable) = scan(&directories, &HashSet::new());
    for (directory, error) in unreadable.iter().filter(|_| !implicit) {
        eprintln!("dropsonde: {}: {error}", directory.display());
    }
    let mut rows: Vec<Row> = found.keys().filter_map(|path| Row::read(path, implicit)).collect();
    if let Some(host) = &running {
        host.merge(&mut rows);
    }
    let list = List { host: running.map(|host| host.address), plugins: rows };
    if args.json {
        match serde_json::to_string_pretty(&list) {
            Ok(text) => println!("{text}"),
            Err(error) => return fail(1, error),
        }
    } else {
        print(&list);
    }
    if unreadable.is_empty() || implicit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Row {
    fn read(path: &Path, implicit: bool) -> Option<Self> {
        let mut row = Self {
            file: path.display().to_string(),
            plugin: None,
            version: None,
            api_version: None,
            description: None,
            rejection: None,
            collectors: Vec::new(),
        };
        let bytes = match std::fs::metadata(path) {
            Ok(meta) if meta.len() > MAX_FILE => Err(format!("has {} bytes", meta.len())),
            _ => std::fs::read(path).map_err(|error| format!("can't be read: {error}")),
        };
        match bytes.map(|bytes| inspect(&bytes)) {
            Ok(Ok((manifest, _))) => {
                let (major, minor) = manifest.api_version;
                row.plugin = Some(manifest.name);
                row.version = Some(manifest.version);
                row.api_version = Some(format!("{major}.{minor}"));
                row.description = Some(manifest.description);
            }
            Ok(Err(ElfError::NoManifest)) if implicit => return None,
            Ok(Err(error)) => row.rejection = Some(error.to_string()),
            Err(error) => row.rejection = Some(error),
        }
        Some(row)
    }
}

/// A host that answered.
struct Running {
    address: String,
    plugins: Vec<Json>,
    collectors: Vec<Json>,
}

fn ask(config: &Config) -> Option<Running> {
    let address = config.listen.to_string();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build().into();
    let get = |what: &str| -> Option<Vec<Json>> {
        let mut response = agent.get(format!("http://{address}/api/v1/{what}")).call().ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    };
    Some(Running { plugins: get("plugins")?, collectors: get("collectors")?, address })
}

impl Running {
    fn merge(&self, rows: &mut Vec<Row>) {
        let text = |json: &Json, key: &str| json[key].as_str().map(str::to_owned);
        let mut by_plugin: HashMap<String, Vec<Json>> = HashMap::new();
        for collector in &self.collectors {
            let plugin = text(collector, "plugin").unwrap_or_default();
            by_plugin.entry(plugin).or_default().push(collector.clone());
        }
        for plugin in &self.plugins {
            let file = text(plugin, "file").unwrap_or_default();
            let row = match rows.iter().position(|row| same_file(&row.file, &file)) {
                Some(index) => &mut rows[index],
                None => {
                    rows.push(Row {
                        file,
                        plugin: text(plugin, "name"),
                        version: text(plugin, "version"),
                        api_version: text(plugin, "api_version"),
                        description: text(plugin, "description"),
                        rejection: None,
                        collectors: Vec::new(),
                    });
                    let last = rows.len() - 1;
                    &mut rows[last]
                }
            };
            row.rejection = row.rejection.take().or(text(plugin, "rejection"));
            if let Some(name) = text(plugin, "name") {
                row.collectors = by_plugin.remove(&name).unwrap_or_default();
            }
        }
    }
}

fn same_file(a: &str, b: &str) -> bool {
    a == b
        || matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

fn print(list: &List) {
    match &list.host {
        Some(address) => println!("host at http://{address}"),
        None => println!("no host runs; what the files say:"),
    }
    println!(
        "{:<18} {:<9} {:<5} {:<18} {:>4} {:<9} {:<12} {:>8} {:>9}",
        "PLUGIN", "VERSION", "API", "COLLECTOR", "GEN", "ISOLATION", "PHASE", "RESTARTS", "LAST"
    );
    for row in &list.plugins {
        let name = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let plugin = row.plugin.clone().unwrap_or_else(|| {
            Path::new(&row.file).file_name().unwrap_or_default().to_string_lossy().into_owned()
        });
        let head = format!("{plugin:<18} {:<9} {:<5}", name(&row.version), name(&row.api_version));
        if row.collectors.is_empty() {
            println!("{head} -");
        }
        for collector in &row.collectors {
            print_collector(&head, collector);
        }
        if let Some(rejection) = &row.rejection {
            println!("  rejected: {} {rejection}", row.file);
        }
    }
}

fn print_collector(head: &str, collector: &Json) {
    let text = |key: &str| collector[key].as_str().unwrap_or("-").to_owned();
    let age = collector["last_batch_age_seconds"].as_f64();
    println!(
        "{head} {:<18} {:>4} {:<9} {:<12} {:>8} {:>9}",
        text("name"),
        collector["generation"].to_string(),
        text("isolation"),
        text("phase"),
        collector["restarts"].to_string(),
        age.map_or("-".to_owned(), |age| format!("{age:.1} s")),
    );
    if let Some(moved) = collector["moved"].as_str() {
        println!("  moved to a process: {moved}");
    }
    if let Some(error) = collector["last_error"].as_str() {
        println!("  last error: {error}");
    }
}
