//! `dropsonde new`: what it writes builds, passes its own tests, is dropped in and delivers,
//! outside the workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use dropsonde_tests::{Agent, Options, binary, wait_for, workspace};
use tempfile::TempDir;

use crate::packages;

/// Runs `dropsonde new` in a directory.
fn new(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(binary()).current_dir(directory).arg("new").args(arguments).output().unwrap()
}

/// A package in a directory of its own, built against this checkout, and its plugin.
fn made(name: &str, arguments: &[&str]) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let api = workspace().to_str().unwrap();
    let output = new(directory.path(), &[&[name, "--api", api], arguments].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains(&format!("cd {name}\n")), "{said}");
    let package = directory.path().join(name);
    (directory, package)
}

/// Runs the tests of a package, builds and checks it, and drops it into an agent that prints every
/// batch.
fn dropped_in(package: &Path, config: &str) -> Agent {
    let name = package.file_name().unwrap().to_str().unwrap();
    let file = format!("lib{}.so", name.replace('-', "_"));
    let tested = packages::test(package, &[]);
    assert!(tested.contains("keeps_the_contract ... ok"), "{tested}");
    let built = packages::build_plugin(package).join(&file);
    let mut check = Command::new(binary());
    let checked = check.args(["check", "--reloads", "20"]).arg(&built).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    let built = fs::read(built).unwrap();
    let agent = Agent::with(Options {
        config: config.to_owned(),
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    });
    agent.put(&file, &built);
    agent.running_or_started(name);
    agent
}

#[test]
fn a_new_collector_delivers() {
    let (_directory, package) = made("tcp-states", &[]);
    let agent = dropped_in(&package, "");
    agent.running("tcp-states");
    let columns = agent.told(&["describe", "tcp-states"]);
    assert!(columns.contains("Connections in this state."), "{columns}");
    let snapshot = agent.snapshot();
    let listen = &snapshot["tcp-states"]["listen"]["connections"];
    assert!(listen.as_u64() > Some(0), "the agent itself listens: {snapshot:#}");

    // What it declares is in a file, which its tests write if they are told to.
    let streams = package.join("streams.txt");
    let declared = fs::read_to_string(&streams).unwrap();
    fs::remove_file(&streams).unwrap();
    packages::test(&package, &[("DROPSONDE_BLESS", "1")]);
    assert_eq!(fs::read_to_string(&streams).unwrap(), declared);

    // Its settings are the user's, and a wrong one is answered.
    let port = agent.address().rsplit_once(':').unwrap().1.to_owned();
    let table = "[collectors.tcp-states.settings]\n";
    agent.configure(&format!("{table}ports = [{port}]\n"));
    wait_for("the connections of one port", || {
        let snapshot = agent.json("/api/v1/snapshot?max_age=0s");
        (snapshot["tcp-states"]["listen"]["connections"] == 1).then_some(())
    });
    agent.configure(&format!("{table}ports = [80, 0]\n"));
    agent.logged("no port is 0");
}

#[test]
fn a_new_event_source_tells_of_what_happens() {
    let (directory, package) = made("changes", &["--events"]);
    let watched = directory.path().join("watched");
    // The first can't be looked at: there is no directory above it.
    let no_directory = package.join("Cargo.toml/file");
    let config = format!(
        "[collectors.changes.settings]\npaths = [{no_directory:?}, {watched:?}]\nevery_ms = 10\n"
    );
    let agent = dropped_in(&package, &config);
    let changed = |what: &str| {
        agent.published("events.changes").iter().any(|batch| {
            let record = &batch["records"][0];
            record["what"] == what && record["path"] == watched.to_str().unwrap()
        })
    };
    // What came before its first look is no change, so this is done until one is seen.
    wait_for("both events", || {
        match watched.exists() {
            true => fs::remove_file(&watched).unwrap(),
            false => fs::write(&watched, "text").unwrap(),
        }
        std::thread::sleep(Duration::from_millis(20));
        (changed("appeared") && changed("removed")).then_some(())
    });
    // It was looked at many times since, and told of once.
    agent.logged("Cargo.toml/file");
    let log = agent.log();
    let told: Vec<_> = log.iter().filter(|line| line.contains("Cargo.toml/file")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn the_least_that_is_a_plugin_has_under_25_lines_and_delivers() {
    let (_directory, package) = made("open_files", &["--minimal"]);
    let source = fs::read_to_string(package.join("src/lib.rs")).unwrap();
    assert!(source.lines().count() < 25, "it has {} lines", source.lines().count());
    let guide = fs::read_to_string(workspace().join("plugin-api/docs/02-first-plugin.md")).unwrap();
    assert!(guide.contains(&source), "the guide shows it, line by line");
    let agent = dropped_in(&package, "");
    agent.running("open_files");
    let open = agent.snapshot()["open_files"]["open"].as_u64();
    assert!(open > Some(0), "{open:?}");
}

#[test]
fn what_is_written_is_as_rustfmt_has_it_and_complete() {
    for variant in [&[][..], &["--events"], &["--minimal"]] {
        let (_directory, package) = made("mine", variant);
        for file in ["Cargo.toml", "README.md", ".gitignore", "src/lib.rs"] {
            assert!(package.join(file).is_file(), "{file}");
        }
        let checked = Command::new(env!("CARGO"))
            .current_dir(&package)
            .args(["fmt", "--check"])
            .output()
            .unwrap();
        let difference = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success(), "{variant:?}: {difference}");
    }
}

#[test]
fn without_a_checkout_the_released_api_is_asked_for_and_that_is_said() {
    let directory = TempDir::new().unwrap();
    let output = new(directory.path(), &["mine", "--path", "elsewhere"]);
    assert!(output.status.success());
    let manifest = fs::read_to_string(directory.path().join("elsewhere/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"mine\""), "{manifest}");
    assert!(manifest.contains("dropsonde-plugin-api = { version = \"1.0\" }"), "{manifest}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("dropsonde-plugin-api 1.0 from a registry"), "{said}");
    assert!(said.contains("--api PATH"), "{said}");
    let guide = fs::read_to_string(workspace().join("plugin-api/docs/02-first-plugin.md")).unwrap();
    assert!(guide.contains("--api PATH"), "the guide tells of it before the first command fails");

    let api = workspace();
    let output = new(directory.path(), &["other", "--api", api.to_str().unwrap()]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !said.contains("registry"), "{said}");
}

#[test]
fn a_shell_takes_the_next_steps_as_they_are_printed() {
    let directory = TempDir::new().unwrap();
    let cases = [
        ("with space", "sh"),
        ("it's", "sh"),
        ("$HOME;`id`", "sh"),
        ("-P", "sh"),
        ("größe", "sh"),
        ("an\u{1b}[2Jescape\n", "bash"), // not every sh has what POSIX has had since 2024
    ];
    for (path, shell) in cases {
        let output = new(directory.path(), &["mine", &format!("--path={path}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains(|one: char| one.is_control() && one != '\n'), "{said:?}");
        let step = said.lines().find(|line| line.starts_with("cd ")).unwrap();
        let shell = Command::new(shell)
            .current_dir(directory.path())
            .args(["-c", &format!("{step} && test -f Cargo.toml")])
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&shell.stderr);
        assert!(shell.status.success(), "{step}: {complaint}");
        let inside = directory.path().join(path).join("Cargo.toml");
        assert!(inside.is_file(), "{path:?}");
    }
}

#[test]
fn a_bad_name_or_one_that_is_taken_writes_nothing() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("taken")).unwrap();
    let cases = [
        ("Mine", 2, "`Mine` can't be a plugin's name: use 1 to 64 characters of a-z"),
        ("../mine", 2, "can't be a plugin's name"),
        ("fn", 2, "it is a keyword of Rust; choose another name"),
        ("taken", 1, "taken: is there already; choose another name or --path"),
    ];
    for (name, code, message) in cases {
        let output = new(directory.path(), &[name]);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{name}: {complaint}");
        assert!(complaint.contains(message), "{name}: {complaint}");
        assert!(output.stdout.is_empty());
    }
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_dir(directory.path().join("taken")).unwrap().count(), 0);
}
