//! `dropsonde list`: reads the manifests without loading anything, and asks a running host.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value as Json;

use super::ask::ask;
use super::{EX_CONFIG, ListArgs, fail};
use crate::admission::{ElfError, Trust, inspect, read, scan};
use crate::config::{Config, Listen};
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
    /// Id of the trusted key that signed it.
    signed_by: Option<String>,
    /// Why it would not be trusted if this user ran a host. A host that runs knows better: it
    /// may be another user's, or have been told to trust.
    #[serde(skip)]
    distrust: Option<String>,
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
    let running = Running::find(&config.listen);
    let implicit = config.directories.is_none();
    let directories = config.directories.clone().unwrap_or_else(default_directories);
    let (found, unreadable) = scan(&directories, &HashSet::new());
    for (directory, error) in unreadable.iter().filter(|_| !implicit) {
        super::complain(format_args!("dropsonde: {}: {error}", directory.display()));
    }
    let mut rows: Vec<Row> =
        found.keys().filter_map(|path| Row::read(path, implicit, &config.trust)).collect();
    if let Some(host) = &running {
        host.merge(&mut rows);
    }
    for row in &mut rows {
        row.rejection = row.rejection.take().or(row.distrust.take());
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
    fn read(path: &Path, implicit: bool, trust: &Trust) -> Option<Self> {
        let mut row = Self {
            file: path.display().to_string(),
            plugin: None,
            version: None,
            api_version: None,
            description: None,
            rejection: None,
            signed_by: None,
            distrust: None,
            collectors: Vec::new(),
        };
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
    address: String,
    plugins: Vec<Json>,
    collectors: Vec<Json>,
}

impl Running {
    fn find(listen: &Listen) -> Option<Self> {
        let (plugins, collectors) = (ask(listen, "plugins")?, ask(listen, "collectors")?);
        Some(Self { address: listen.to_string(), plugins, collectors })
    }

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
                        signed_by: None,
                        distrust: None,
                        collectors: Vec::new(),
                    });
                    let last = rows.len() - 1;
                    &mut rows[last]
                }
            };
            row.rejection = row.rejection.take().or(text(plugin, "rejection"));
            row.signed_by = text(plugin, "signed_by");
            row.distrust = None;
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
        Some(socket) if socket.starts_with("unix:") => println!("host at {socket}"),
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
    let missing = collector["sandbox"]["missing"].as_array();
    for missing in missing.into_iter().flatten().filter_map(Json::as_str) {
        println!("  not in its sandbox: {missing}");
    }
    if let Some(error) = collector["last_error"].as_str() {
        println!("  last error: {error}");
    }
}
