//! `dropsonde validate`: the configuration, and each collector's settings against its plugin.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

use super::ask::put;
use super::{EX_CONFIG, ValidateArgs, fail, runtime};
use crate::admission::{ElfError, Image, Rejection, check_settings, read_and_stage, scan};
use crate::config::{Config, Sources};
use crate::control::{Builder, StartError, default_directories};
use crate::runner::Failure;

pub(super) fn validate(args: &ValidateArgs) -> ExitCode {
    let sources = Sources {
        file: args.file.clone(),
        listen: None,
        plugins: args.plugins.clone(),
        control: None,
        allow_unsafe_permissions: false,
        environment: Sources::process_environment(),
    };
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, errors),
    };
    let directories = config.directories.clone().unwrap_or_else(default_directories);
    let checked = runtime()
        .map_err(StartError::Thread)
        .and_then(|runtime| runtime.block_on(check(&config, &directories)));
    match checked {
        Ok(problems) if problems.is_empty() => {
            let read = config.files.iter().map(|file| format!("{}: read\n", file.display()));
            let good = format!("good: {} collectors configured\n", config.collectors.len());
            put(&(read.collect::<String>() + &good)).err().unwrap_or(ExitCode::SUCCESS)
        }
        Ok(problems) => fail(EX_CONFIG, problems.join("\n")),
        Err(error) => fail(1, error),
    }
}

/// Checks settings in child processes; nothing is created.
async fn check(config: &Config, directories: &[PathBuf]) -> Result<Vec<String>, StartError> {
    let services = Builder::services(config, false)?.0;
    let (found, _) = scan(directories, &HashSet::new());
    let mut images: BTreeMap<String, Image> = BTreeMap::new();
    let mut refused = Vec::new();
    for path in found.keys() {
        match read_and_stage(&services.staging, path, 0, &config.trust) {
            Ok((image, _)) => {
                images.insert(image.manifest.name.clone(), image);
            }
            Err(Rejection::Elf(ElfError::NoManifest)) => {} // some other library
            Err(rejection) => refused.push(format!("{} {rejection}", path.display())),
        }
    }
    let mut problems = Vec::new();
    for spec in config.collectors.values() {
        let Some(image) = images.get(&*spec.plugin) else {
            let looked: Vec<String> =
                directories.iter().map(|path| path.display().to_string()).collect();
            let known: Vec<&str> = images.keys().map(String::as_str).collect();
            let hint = crate::config::suggestion(&spec.plugin, &known);
            let error =
                format!("there is no plugin `{}` in {}; {hint}", spec.plugin, looked.join(", "));
            problems.push(spec.error("plugin", &error).to_string());
            problems.append(&mut refused); // it may be one of these
            continue;
        };
        match check_settings(&services, image, spec).await {
            Ok(()) => {}
            Err(Failure::Settings { path, message }) => {
                problems.push(spec.settings_error(&path, &message).to_string());
            }
            Err(other) => problems.push(format!("{}: {other}", image.source.display())),
        }
    }
    Ok(problems)
}
