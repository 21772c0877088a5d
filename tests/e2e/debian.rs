//! The Debian package: what is in it, and that it works where it is installed. It is made of a
//! release build, so it is not made here: DROPSONDE_DEB names it.

mod bare;
mod machine;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use dropsonde_tests::{BRIDGES, BUNDLED, skipped, wait_for, workspace};
use serde_json::Value;

use bare::Bare;
use machine::Machine;

const UNIT: &str = "/usr/lib/systemd/system/dropsonde.service";

/// The package, if there is one.
fn package() -> Option<PathBuf> {
    let Some(given) = std::env::var_os("DROPSONDE_DEB") else {
        skipped(
            "DROPSONDE_DEB names no package; `cargo deb -p dropsonde` makes one in target/debian",
        );
        return None;
    };
    let path = workspace().join(given); // cargo runs tests in the directory of their crate
    assert!(path.is_file(), "{} is missing", path.display());
    Some(path)
}

/// What dpkg-deb(1) says of the package.
fn dpkg_deb(arguments: &[&str], package: &PathBuf) -> String {
    let (option, rest) = arguments.split_first().unwrap();
    let output = Command::new("dpkg-deb").arg(option).arg(package).args(rest).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// `dropsonde list --json`, once every bundled collector runs and has delivered.
fn all_run(list: impl Fn() -> Option<String>) -> Value {
    wait_for("all bundled collectors to run", || {
        let list = json(&list()?);
        let runs = |name: &&str| {
            collectors(&list).iter().any(|collector| {
                collector["name"] == **name
                    && collector["phase"] == "running"
                    && collector["batches"].as_u64() > Some(0)
            })
        };
        BUNDLED.iter().all(runs).then_some(list)
    })
}

fn collectors(list: &Value) -> Vec<&Value> {
    let plugins = list["plugins"].as_array().unwrap();
    plugins.iter().flat_map(|plugin| plugin["collectors"].as_array().unwrap()).collect()
}

#[test]
fn it_holds_the_agent_all_bundled_plugins_and_what_belongs_to_a_service() {
    let Some(package) = package() else { return };
    let listing = dpkg_deb(&["--contents"], &package);
    let files: BTreeMap<String, (String, String)> = listing
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[5].to_owned(), (words[0].to_owned(), words[1].to_owned()))
        })
        .collect();
    // Owned by root and written by nobody else: so they are trusted whoever the agent runs as.
    for (path, (mode, owner)) in &files {
        let expected = match path.as_str() {
            directory if directory.ends_with('/') => "drwxr-xr-x",
            "./usr/bin/dropsonde" => "-rwxr-xr-x",
            _ => "-rw-r--r--",
        };
        let is_root_s = ["root/root", "0/0"].contains(&owner.as_str());
        assert!(mode == expected && is_root_s, "{mode} {owner} {path}");
    }
    let plugin = |name: &&str| format!("./usr/lib/dropsonde/plugins/libdropsonde_{name}.so");
    let plugins: Vec<String> = BUNDLED.iter().chain(&BRIDGES).map(plugin).collect();
    let others = [
        "./usr/bin/dropsonde",
        "./usr/include/dropsonde.h",
        "./usr/include/dropsonde.map",
        "./usr/lib/systemd/system/dropsonde.service",
        "./etc/dropsonde/dropsonde.toml",
        "./etc/dropsonde/conf.d/README",
        "./usr/share/man/man1/dropsonde.1.gz",
        "./usr/share/bash-completion/completions/dropsonde",
        "./usr/share/zsh/vendor-completions/_dropsonde",
        "./usr/share/fish/vendor_completions.d/dropsonde.fish",
        "./usr/share/doc/dropsonde/copyright",
        "./usr/share/doc/dropsonde/changelog.Debian.gz",
    ];
    let mut expected: Vec<&str> = plugins.iter().map(String::as_str).chain(others).collect();
    let mut found: Vec<&str> =
        files.keys().map(String::as_str).filter(|path| !path.ends_with('/')).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let conffiles = dpkg_deb(&["--info", "conffiles"], &package);
    let mut conffiles: Vec<&str> = conffiles.lines().collect();
    conffiles.sort_unstable();
    assert_eq!(conffiles, ["/etc/dropsonde/conf.d/README", "/etc/dropsonde/dropsonde.toml"]);
    let depends = dpkg_deb(&["--field", "Depends"], &package);
    assert!(depends.contains("libc6 (>= 2."), "{depends}");
}

#[test]
fn it_runs_as_any_user_where_nothing_is_but_libc_and_nothing_can_be_written_but_its_own() {
    let Some(package) = package() else { return };
    let Some(mut root) = Bare::install(&package) else { return };
    assert_eq!(
        root.told(&["validate"]),
        "/etc/dropsonde/dropsonde.toml: read\ngood: 0 collectors configured\n"
    );
    root.start();
    let list = all_run(|| root.answer(&["list", "--json"]));
    assert_eq!(list["host"], "/run/dropsonde/control.sock");
    root.signal("HUP");
    root.logged("SIGHUP: reloading");
    let snapshot = json(&root.told(&["snapshot"]));
    assert!(snapshot["memory"]["total_bytes"].as_u64() > Some(0), "{snapshot:#}");
    assert!(root.terminate().success());
}

#[test]
fn systemd_runs_it_by_its_unit_reloads_upgrades_and_removes_it() {
    let Some(package) = package() else { return };
    let Some(machine) = Machine::boot() else { return };
    std::fs::copy(&package, machine.path("/root/dropsonde.deb")).unwrap();
    let install = || machine.told(&["dpkg", "--install", "/root/dropsonde.deb"]);

    // Installed, enabled, started; started means READY.
    install();
    assert_eq!(machine.told(&["systemctl", "is-active", "dropsonde"]), "active\n");
    assert_eq!(machine.told(&["systemctl", "is-enabled", "dropsonde"]), "enabled\n");
    assert_eq!(machine.told(&["systemd-analyze", "verify", UNIT]), "");
    machine.told(&["systemd-analyze", "security", "--offline=true", "--threshold=21", UNIT]);
    is_confined(&machine);

    // Root finds a socket that is another user's.
    let list = all_run(|| Some(machine.told(&["dropsonde", "list", "--json"])));
    assert_eq!(list["host"], "/run/dropsonde/control.sock");
    for collector in collectors(&list) {
        assert_eq!(collector["last_error"], Value::Null, "{collector:#}");
        assert_eq!(collector["restarts"], 0, "{collector:#}");
    }
    runners_are_confined_as_without_the_unit(&machine, &list);
    sees_the_machine(&machine);
    assert!(machine.told(&["dropsonde", "validate"]).ends_with("good: 0 collectors configured\n"));

    // A reload keeps the process; edits are of the conffile, and survive an upgrade.
    let first = machine.property("MainPID");
    let edited = machine.path("/etc/dropsonde/dropsonde.toml");
    let mut text = std::fs::read_to_string(&edited).unwrap();
    text.push_str("[collectors.memory]\ninterval = \"7s\"\n");
    std::fs::write(&edited, &text).unwrap();
    machine.told(&["systemctl", "reload", "dropsonde"]);
    let paced = || {
        let list = json(&machine.told(&["dropsonde", "list", "--json"]));
        let of = collectors(&list).into_iter().find(|collector| collector["name"] == "memory")?;
        (of["interval_seconds"] == 7.0).then_some(())
    };
    wait_for("the new interval", paced);
    assert!(machine.journal().contains("SIGHUP: reloading"));
    assert_eq!(machine.property("MainPID"), first);
    install();
    assert_ne!(machine.property("MainPID"), first, "an upgrade restarts it");
    assert_eq!(std::fs::read_to_string(&edited).unwrap(), text);
    wait_for("the edited interval after the upgrade", paced);
    threads_and_history_work(&machine);
    ends_well_or_stays_ended(&machine);

    let state = machine.path("/var/lib/private/dropsonde");
    machine.told(&["dpkg", "--remove", "dropsonde"]);
    assert!(edited.exists() && state.exists());
    machine.told(&["dpkg", "--purge", "dropsonde"]);
    assert!(!machine.path("/etc/dropsonde").exists() && !state.exists());
}

/// A user of its own, one capability, no new privileges, filtered system calls; so its runners.
fn is_confined(machine: &Machine) {
    const CAP_PERFMON: u64 = 1 << 38;
    let main = machine.property("MainPID");
    let children = machine.told(&["sh", "-c", &format!("cat /proc/{main}/task/*/children")]);
    let runners: Vec<&str> = children.split_whitespace().collect();
    assert!(runners.len() >= BUNDLED.len(), "{runners:?}");
    for pid in runners.into_iter().chain([main.as_str()]) {
        let status = std::fs::read_to_string(machine.path(&format!("/proc/{pid}/status"))).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace().next().unwrap().to_owned()
        };
        let user: u32 = field("Uid").parse().unwrap();
        assert!((61184..=65519).contains(&user), "{user} is no dynamic user");
        let capabilities = u64::from_str_radix(&field("CapEff"), 16).unwrap();
        assert_eq!(capabilities, CAP_PERFMON, "{capabilities:x}");
        assert_eq!(field("NoNewPrivs"), "1");
        assert_eq!(field("Seccomp"), "2");
    }
}

/// The filter of system calls leaves the agent those by which it confines its runners itself.
fn runners_are_confined_as_without_the_unit(machine: &Machine, list: &Value) {
    let control = "--control=/run/unconfined.sock";
    let agent = ["/usr/bin/dropsonde", "run", "--listen=127.0.0.1:0", control];
    machine.told(&[&["systemd-run", "--unit=unconfined"], &agent[..]].concat());
    let ask = || machine.run(&["dropsonde", "list", "--json", control]).stdout;
    let unconfined = all_run(|| String::from_utf8(ask()).ok());
    machine.told(&["systemctl", "stop", "unconfined"]);
    let sandboxes = |list: &Value| -> BTreeMap<String, Value> {
        let of = |one: &Value| (one["name"].to_string(), one["sandbox"].clone());
        collectors(list).into_iter().map(of).collect()
    };
    assert_eq!(sandboxes(list), sandboxes(&unconfined));
}

/// The walls around it hide nothing that it is there to see.
fn sees_the_machine(machine: &Machine) {
    let snapshot = json(&machine.told(&["dropsonde", "snapshot", "--max-age", "0s"]));
    assert_eq!(snapshot["perf_events"]["available"], true, "{:#}", snapshot["perf_events"]);
    let first = snapshot["process"]["processes"]["1"].as_object();
    let first = first.and_then(|first| first.values().next());
    assert_eq!(first.unwrap()["name"], "systemd", "root's processes are seen");
    let mounts: Vec<&String> = snapshot["disk"]["partitions"].as_object().unwrap().keys().collect();
    assert_eq!(mounts, ["/"], "the mounts that the unit makes are no file systems of their own");
}

/// What else a configuration may ask for works behind the walls too: plugins that are loaded into
/// the agent, and SQLite.
fn threads_and_history_work(machine: &Machine) {
    let more = machine.path("/etc/dropsonde/conf.d/more.toml");
    let text = "[defaults]\nisolation = \"thread\"\n[history]\nstreams = [\"metrics.cpu\"]\n\
                interval = \"1s\"\nflush = \"1s\"\n";
    std::fs::write(&more, text).unwrap();
    machine.told(&["systemctl", "reload", "dropsonde"]);
    wait_for("every collector on a thread", || {
        let list = all_run(|| Some(machine.told(&["dropsonde", "list", "--json"])));
        collectors(&list).iter().all(|one| one["isolation"] == "thread").then_some(())
    });
    wait_for("a record in the store", || {
        let count =
            machine.run(&["dropsonde", "query", "--json", "select count(*) n from history.cpu"]);
        let text = String::from_utf8(count.stdout).unwrap();
        (count.status.success() && !text.contains("\"n\":0") && text.contains("\"n\":"))
            .then_some(())
    });
    std::fs::remove_file(&more).unwrap();
}

/// A wrong configuration ends it with 78, and it is not started again before it is mended.
fn ends_well_or_stays_ended(machine: &Machine) {
    machine.told(&["systemctl", "stop", "dropsonde"]);
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");
    let wrong = machine.path("/etc/dropsonde/conf.d/wrong.toml");
    std::fs::write(&wrong, "[host]\nlisten = 5\n").unwrap();
    assert!(!machine.run(&["systemctl", "start", "dropsonde"]).status.success());
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.property("ActiveState"), "failed");
    std::fs::remove_file(&wrong).unwrap();
    machine.told(&["systemctl", "start", "dropsonde"]);
    all_run(|| Some(machine.told(&["dropsonde", "list", "--json"])));
}
