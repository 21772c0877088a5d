//! `dropsonde check`: the bundled plugins pass it, and each fault is found under its id.

mod ends;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dropsonde_tests::{BUNDLED, binary, fixture, plugin, replace_bytes, workspace};
use serde_json::Value;
use tempfile::TempDir;

use crate::c_plugins::compile;

/// With few rounds; those of `arguments` come later and win.
fn command(files: &[&Path], arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["check", "--allow-unsafe-permissions"]).args(files);
    if !arguments.contains(&"--rounds") {
        command.args(["--rounds", "20"]);
    }
    if !arguments.contains(&"--reloads") {
        command.args(["--reloads", "0"]);
    }
    command.args(arguments);
    command
}

fn check(files: &[&Path], arguments: &[&str]) -> Output {
    command(files, arguments).output().unwrap()
}

/// What it found of one file, as JSON.
struct Found {
    json: Value,
    code: Option<i32>,
}

impl Found {
    fn of(file: &Path, arguments: &[&str]) -> Self {
        Self::by(&mut command(&[file], arguments))
    }

    fn by(command: &mut Command) -> Self {
        let output = command.arg("--json").output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { json: json["plugins"][0].clone(), code: output.status.code() }
    }

    /// Outcome and texts of a check.
    fn check(&self, id: &str) -> (String, String) {
        let checks = self.json["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["id"] == id).unwrap();
        let findings = check["findings"].as_array().unwrap().iter();
        let texts = findings.map(|finding| format!("{} {}", finding["found"], finding["mend"]));
        (check["outcome"].as_str().unwrap().to_owned(), texts.collect::<Vec<_>>().join("\n"))
    }

    #[track_caller]
    fn fails(&self, id: &str, text: &str) {
        self.came_out("fail", id, text);
        assert_eq!(self.code, Some(1));
    }

    #[track_caller]
    fn came_out(&self, expected: &str, id: &str, text: &str) {
        let (outcome, texts) = self.check(id);
        assert_eq!(outcome, expected, "{id}: {texts}");
        assert!(texts.contains(text), "{id}: {texts}");
    }

    /// The ids that came out so.
    fn ids(&self, outcome: &str) -> Vec<String> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        let such = checks.filter(|check| check["outcome"] == outcome);
        such.map(|check| check["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// What the fixture does, from which round on.
fn faulty(fault: &str, round: u32, arguments: &[&str]) -> Found {
    Found::by(&mut faulty_command(fault, round, arguments))
}

fn faulty_command(fault: &str, round: u32, arguments: &[&str]) -> Command {
    let settings = format!("fault = \"{fault}\"\nround = {round}");
    command(&[&fixture("faulty")], &[&["--settings", &settings], arguments].concat())
}

/// A file of these bytes.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("libplugin.so");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Found {
    let mut bytes = fs::read(fixture("steady_v1")).unwrap();
    change(&mut bytes);
    let (_directory, path) = file(&bytes);
    Found::of(&path, &[])
}

#[test]
fn every_bundled_plugin_passes() {
    // Side by side: each waits for most of its time.
    std::thread::scope(|scope| {
        for names in BUNDLED.chunks(BUNDLED.len().div_ceil(3)) {
            scope.spawn(move || {
                for name in names {
                    let found = Found::of(&plugin(name), &["--reloads", "5"]);
                    assert_eq!(found.ids("fail"), [""; 0], "{name}: {:#}", found.json);
                    assert_eq!(found.code, Some(0));
                    found.came_out("pass", "reload.unmapped", "unmapped each time");
                    found.came_out("pass", "collect.outcome", "20 rounds");
                }
            });
        }
    });
}

#[test]
fn a_file_that_the_agent_refuses_fails_in_the_agent_s_words() {
    let not_a_plugin = Found::of(&fixture("not_a_plugin"), &[]);
    not_a_plugin.fails("manifest.read", "is no Dropsonde plugin: it has no section .dropsonde");
    changed(|bytes| bytes.truncate(5000)).fails("elf.intact", "is cut short");
    let other = changed(|bytes| bytes[18..20].copy_from_slice(&183_u16.to_le_bytes()));
    other.fails("elf.intact", "was built for aarch64");
    let nameless = changed(|bytes| {
        replace_bytes(bytes, b"dropsonde_plugin_module\0", b"dropsonde_plugin_nodule\0");
    });
    nameless.fails("elf.entry", "does not export `dropsonde_plugin_module`");
    let aborts = changed(|bytes| {
        let manifest = bytes.windows(8).position(|window| window == b"DROPSND\0").unwrap();
        bytes[manifest + 21] = 1;
    });
    aborts.fails("elf.unwind", "was built with panic = \\\"abort\\\"");
    aborts.came_out("skip", "trial.load", "not tried, since elf.unwind failed");
    let needy = changed(|bytes| {
        assert!(replace_bytes(bytes, b"libgcc_s.so.1\0", b"libgcc_x.so.1\0") > 0);
    });
    needy.fails("trial.load", "libgcc_x.so.1");
    let crashing = Found::of(&fixture("crashing_constructor"), &[]);
    crashing.fails("trial.round", "failed its trial in a process of its own: killed by SIGSEGV");
}

#[test]
fn a_file_that_others_can_write_fails_unless_that_is_allowed() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = file(&fs::read(fixture("steady_v1")).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let output = Command::new(binary()).arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("fail file.trust: can be written by others (mode 0666)"), "{text}");
    let allowed = Found::of(&path, &["--rounds", "1"]);
    allowed.came_out("skip", "file.trust", "unsafe permissions are allowed");
    assert_eq!(allowed.code, Some(0));
}

#[test]
fn a_plugin_that_ends_in_its_rounds_is_told_of_by_round_and_cause() {
    std::thread::scope(|scope| {
        for (fault, text) in [
            ("segfault", "round 3: killed by SIGSEGV"),
            ("panic", "round 3: panicked: round 3 went wrong"),
            ("exit", "round 3: exited with code 7"),
            ("hang", "round 3: deadline 3s exceeded"),
        ] {
            scope.spawn(move || {
                let mut command = faulty_command(fault, 3, &["--reloads", "5"]);
                if fault == "hang" {
                    command.env("DROPSONDE__DEFAULTS__DEADLINE", "3s");
                }
                let found = Found::by(&mut command);
                found.fails("collect.outcome", text);
                found.came_out("skip", "reload.outcome", "not tried, since it ended in its rounds");
                found.came_out("pass", "trial.round", "the agent would admit it");
            });
        }
    });
    faulty("error", 5, &[]).fails("collect.outcome", "16 of 20 rounds: failed: no such luck");
    faulty("panic_in_drop", 1, &[]).fails("stop.outcome", "panicked: drop went wrong");
}

#[test]
fn what_leaks_or_grows_in_each_round_is_found() {
    std::thread::scope(|scope| {
        scope.spawn(|| faulty("slow_leak", 1, &[]).fails("collect.memory", "KiB more each time"));
        scope.spawn(|| {
            let found = faulty("leave_open", 1, &[]);
            found.fails("collect.descriptors", " descriptors, then ");
            assert_eq!(found.ids("fail"), ["collect.descriptors"]);
        });
        scope.spawn(|| {
            let found = faulty("many_rows", 1, &[]);
            found.fails("collect.growth", "series never seen before");
            found.fails("collect.rows", "were beyond the limit of rows");
        });
        scope.spawn(|| {
            let found = faulty("thread", 1, &["--reloads", "4"]);
            found.fails("collect.threads", " threads, then ");
            found.fails("reload.unmapped", "a thread of its own still ran");
            found.fails("reload.conduct", "it left a thread running in the host");
        });
    });
}

#[test]
fn what_a_plugin_does_to_the_process_that_it_shares_is_found() {
    for (fault, text) in [
        ("signal_handler", "it changed the host's handler of SIGTERM"),
        ("chdir", "it changed its working directory"),
        ("environment", "it changed the host's environment"),
    ] {
        faulty(fault, 1, &["--rounds", "5", "--reloads", "3"]).fails("reload.conduct", text);
    }
    let crashing = faulty("segfault_on_thread", 1, &["--rounds", "5", "--reloads", "3"]);
    crashing.fails("reload.outcome", "load 1: the process was killed by SIGSEGV");
    crashing.came_out("pass", "collect.outcome", "5 rounds");
}

#[test]
fn who_floods_the_log_is_warned_of_whether_it_logs_or_prints() {
    faulty("log_flood", 1, &[]).came_out("warn", "collect.log", "say a thing once");
    let printing = faulty("print_flood", 3, &[]);
    printing.came_out("warn", "collect.log", "such as: line 0 of a flood");
}

#[test]
fn on_threads_too_it_writes_and_ends_nothing_outside() {
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there");
    fs::write(&there, "").unwrap();
    let settings = format!("fault = \"write_file\"\nwhile_file = \"{}\"", there.display());
    let arguments = ["--rounds", "5", "--reloads", "3", "--settings", &settings];
    let writing = Found::of(&fixture("faulty"), &arguments);
    writing.came_out("warn", "sandbox.denied", "no capability allows it");
    writing.came_out("pass", "reload.outcome", "3 loads in one process");
    assert!(!there.with_extension("written").exists(), "it was sandboxed all the time");
    let killing = faulty("kill_parent_on_thread", 1, &["--rounds", "5", "--reloads", "3"]);
    killing.came_out("pass", "reload.outcome", "3 loads in one process");
}

#[test]
fn a_bare_name_in_the_working_directory_is_found() {
    let (directory, path) = file(&fs::read(fixture("steady_v1")).unwrap());
    let mut command = Command::new(binary());
    command.args(["check", "--rounds", "1", "--reloads", "0"]).arg(path.file_name().unwrap());
    let found = Found::by(command.current_dir(directory.path()));
    found.came_out("pass", "file.read", "bytes");
    assert_ne!(found.code, Some(66));
}

/// `DF_1_NODELETE` of elf(5), set in the dynamic section.
#[test]
fn a_plugin_that_stays_mapped_is_warned_of_and_passes() {
    let mut bytes = fs::read(fixture("steady_v1")).unwrap();
    let entry = |flags: u64| [0x6fff_fffb_u64.to_le_bytes(), flags.to_le_bytes()].concat();
    assert_eq!(replace_bytes(&mut bytes, &entry(1), &entry(1 | 8)), 1, "its DT_FLAGS_1");
    let (_directory, path) = file(&bytes);
    let found = Found::of(&path, &["--reloads", "3"]);
    found.came_out("warn", "elf.nodelete", "is marked NODELETE");
    found.came_out("warn", "reload.unmapped", "pinned: it is marked NODELETE; closed 3 times");
    assert_eq!(found.code, Some(0));
    assert_eq!(Found::of(&path, &["--strict"]).code, Some(1));
}

#[test]
fn capabilities_that_are_not_needed_and_those_that_lack_are_told_apart() {
    let idle = faulty("", 1, &[]);
    idle.came_out("warn", "sandbox.needed", "`exec` made no difference here");
    assert_eq!(idle.code, Some(0));
    let lacking = faulty("connect", 1, &[]);
    lacking.fails("sandbox.denied", "`network` allows it");
    let (_, text) = lacking.check("sandbox.denied");
    assert!(text.contains("add Network to capabilities"), "{text}");
    let needed = faulty("start_program", 1, &[]);
    needed.came_out("pass", "sandbox.needed", "`exec`: without it failed: ");
}

#[test]
fn an_event_source_is_listened_to_and_stops() {
    let found = Found::of(&fixture("pulse"), &["--settings", "every_ms = 10", "--reloads", "3"]);
    assert_eq!(found.ids("fail"), [""; 0], "{:#}", found.json);
    found.came_out("pass", "collect.outcome", "events in 2s");
    let rows = &found.json["checks"].as_array().unwrap().iter();
    let rows = rows.clone().find(|check| check["id"] == "collect.rows").unwrap();
    assert!(rows["figures"]["rows"]["beat"]["most"].as_u64() > Some(0), "{rows}");
    found.came_out("pass", "stop.time", " ms");
}

/// The event source in C++, exporting what the host looks for and nothing else.
fn compile_alone() -> PathBuf {
    let script = workspace().join("plugin-api/include/dropsonde.map");
    let flag = format!("-Wl,--version-script={}", script.display());
    compile("examples/watch_file/watch_file.cpp", "checked_alone", &[&flag])
}

/// libstdc++ can't be unloaded, and binds the plugin's copies of its templates.
#[test]
fn a_plugin_in_c_passes_and_what_pins_one_in_cpp_is_named() {
    let softirqs = compile("examples/softirqs/softirqs.c", "checked_softirqs", &[]);
    let found = Found::of(&softirqs, &["--reloads", "3"]);
    assert_eq!((found.ids("fail"), found.ids("warn")), (vec![], vec![]), "{:#}", found.json);
    found.came_out("pass", "settings.type", "refused by name: `root`");
    let watch_file = compile("examples/watch_file/watch_file.cpp", "checked_watch_file", &[]);
    let found = Found::of(&watch_file, &["--reloads", "3"]);
    assert_eq!(found.ids("fail"), [""; 0], "{:#}", found.json);
    found.came_out("warn", "reload.unmapped", "libstdc++.so.6");
    // As dropsonde.h has it for C++: nothing is there to bind.
    let found = Found::of(&compile_alone(), &["--reloads", "3"]);
    assert_eq!((found.ids("fail"), found.ids("warn")), (vec![], vec![]), "{:#}", found.json);
}

#[test]
fn the_table_shows_what_is_wrong_and_how_to_mend_it() {
    let output = check(&[&fixture("faulty")], &["--settings", "fault = \"leave_open\""]);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "  elf       pass",
        "  collect   fail",
        "    fail collect.descriptors: ",
        "         mend: ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("collect.time"), "what passed is in one line: {text}");
    let verbose = check(&[&fixture("pulse")], &["--verbose"]);
    let text = String::from_utf8(verbose.stdout).unwrap();
    assert!(text.contains("    pass stop.time: "), "{text}");
    let list = check(&[], &["--list"]);
    let ids = String::from_utf8(list.stdout).unwrap();
    assert!(ids.contains("collect.growth") && list.status.success(), "{ids}");
}

#[test]
fn a_file_that_is_not_there_ends_with_66_and_bad_settings_with_78() {
    let missing = check(&[Path::new("/no/such/libplugin.so")], &[]);
    assert_eq!(missing.status.code(), Some(66));
    let text = String::from_utf8(missing.stdout).unwrap();
    assert!(text.contains("fail file.read: can't be read: No such file"), "{text}");
    let bad = check(&[&fixture("faulty")], &["--settings", "fault = ["]);
    assert_eq!(bad.status.code(), Some(78));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(text.contains("--settings:1:"), "{text}");
    let refused = Found::of(&fixture("faulty"), &["--settings", "rot = 1"]);
    assert_eq!(refused.code, Some(78));
    refused.came_out("fail", "trial.create", "write the settings as it says");
    let no_file = check(&[&fixture("faulty")], &["--settings", "no-such.toml"]);
    assert_eq!(no_file.status.code(), Some(78));
}
