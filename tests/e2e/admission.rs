//! Nothing is loaded untried, and no file takes the host down.

use std::fs;
use std::path::Path;
use std::process::Command;

use dropsonde_tests::{
    Agent, binary, corrupt, fixture, replace_bytes, skipped, target_dir, wait_for, workspace,
};
use tempfile::TempDir;

fn steady() -> Vec<u8> {
    fs::read(fixture("steady_v1")).unwrap()
}

/// Puts a file into a running agent beside a healthy collector, and returns why it was rejected;
/// the healthy one must go on.
fn rejection_of(bytes: &[u8]) -> String {
    let mut agent = Agent::with_plugins("", &[&fixture("faulty")]);
    let before = agent.running("faulty");
    agent.put("bad.so", bytes);
    let why = agent.rejected("bad.so");
    let batches = before["batches"].as_u64();
    agent.until("faulty", "going on", |now| now["batches"].as_u64() > batches);
    assert!(agent.is_alive());
    let again = agent.collector("faulty").unwrap();
    assert_eq!(again["restarts"], 0);
    let log = agent.log();
    let lines = log.iter().filter(|line| line.contains("bad.so") && line.contains("ERROR"));
    assert_eq!(lines.count(), 1, "one line for one rejection: {log:#?}");
    why
}

#[test]
fn a_plugin_that_is_dropped_in_is_collecting() {
    let agent = Agent::start("");
    agent.put("libsteady.so", &steady());
    let collector = agent.running("steady");
    assert_eq!(collector["generation"], 1);
    assert_eq!(collector["isolation"], "process");
    assert_eq!(agent.snapshot()["steady"]["build"], 1);
    let plugin = agent.plugin("libsteady.so").unwrap();
    assert_eq!((&plugin["state"], &plugin["api_version"]), (&"admitted".into(), &"1.0".into()));
}

#[test]
fn a_file_that_was_cut_short_is_rejected_by_its_size() {
    let whole = steady();
    for length in [0, 3, 40, 63, 4096, whole.len() / 2, whole.len() - 1] {
        let why = rejection_of(&whole[..length]);
        assert!(why.contains("is cut short"), "{length} bytes: {why}");
    }
}

#[test]
fn a_file_of_another_kind_is_rejected_with_what_it_is() {
    let why = rejection_of(b"#!/bin/sh\necho no plugin, but long enough to look at for a while\n");
    assert!(why.contains("is no intact ELF file"), "{why}");

    let mut other = steady();
    other[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine of aarch64, elf(5)
    let why = rejection_of(&other);
    assert!(why.contains("was built for aarch64, this machine is"), "{why}");

    let mut narrow = steady();
    narrow[4] = 1; // ELFCLASS32
    assert!(rejection_of(&narrow).contains("a 32-bit machine"));

    let mut executable = steady();
    executable[16..18].copy_from_slice(&2_u16.to_le_bytes()); // ET_EXEC
    assert!(rejection_of(&executable).contains("is an executable, not a shared object"));
}

#[test]
fn a_library_that_is_no_plugin_is_rejected_with_how_to_make_one() {
    let why = rejection_of(&fs::read(fixture("not_a_plugin")).unwrap());
    assert!(why.contains("no section .dropsonde; build it with export_plugin!"), "{why}");

    let mut nameless = steady();
    replace_bytes(&mut nameless, b"dropsonde_plugin_module\0", b"dropsonde_plugin_nodule\0");
    let why = rejection_of(&nameless);
    assert!(why.contains("does not export `dropsonde_plugin_module`"), "{why}");
}

#[test]
fn a_plugin_whose_library_is_missing_is_rejected_by_the_linker_s_word() {
    let mut needy = steady();
    assert!(replace_bytes(&mut needy, b"libgcc_s.so.1\0", b"libgcc_x.so.1\0") > 0);
    let why = rejection_of(&needy);
    assert!(why.contains("libgcc_x.so.1"), "{why}");
    assert!(why.contains("install what it needs"), "{why}");
}

#[test]
fn a_plugin_whose_constructor_crashes_dies_in_its_trial() {
    let why = rejection_of(&fs::read(fixture("crashing_constructor")).unwrap());
    assert!(why.contains("failed its trial in a process of its own: killed by SIGSEGV"), "{why}");
}

#[test]
fn a_plugin_whose_constructor_hangs_dies_in_its_trial_at_the_deadline() {
    for isolation in ["process", "thread"] {
        let config = format!("[defaults]\nisolation = \"{isolation}\"\ndeadline = \"500ms\"\n");
        let agent = Agent::with_plugins(&config, &[&fixture("hanging_constructor")]);
        let why = agent.rejected("libhanging_constructor.so");
        let expected = "failed its trial in a process of its own: deadline 500ms exceeded";
        assert!(why.contains(expected), "{why}");
        wait_for("the end of the trial", || agent.children().is_empty().then_some(()));
        agent.put("steady.so", &fs::read(fixture("steady_v1")).unwrap());
        agent.running("steady");
    }
}

#[test]
fn a_plugin_that_panics_at_once_is_rejected_with_its_message() {
    let config = "[collectors.faulty.settings]\nfault = \"panic_in_create\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("faulty")]);
    let why = agent.rejected("libfaulty.so");
    assert!(why.contains("panicked: create went wrong"), "{why}");
}

#[test]
fn a_plugin_that_hangs_at_once_is_rejected_at_its_deadline() {
    let config = "[collectors.faulty]\ndeadline = \"300ms\"\n[collectors.faulty.settings]\nfault = \"hang\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("faulty")]);
    let why = agent.rejected("libfaulty.so");
    assert!(why.contains("deadline 300ms exceeded"), "{why}");
    wait_for("the end of its process", || agent.children().is_empty().then_some(()));
}

#[test]
fn a_plugin_that_aborts_on_panic_is_refused_before_it_is_loaded() {
    let output = target_dir().join("panic-abort");
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace())
        .args(["build", "--quiet", "--locked", "-p", "dropsonde-tests", "--example", "steady_v1"])
        .args(["--config", "profile.dev.panic=\"abort\"", "--target-dir"])
        .arg(&output)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = fs::read(output.join("debug/examples/libsteady_v1.so")).unwrap();
    let why = rejection_of(&bytes);
    assert!(why.contains("was built with panic = \"abort\""), "{why}");
    // Its manifest's word is not all that there is to go by.
    let manifest = bytes.windows(8).position(|window| window == b"DROPSND\0").unwrap();
    let mut lying = bytes;
    lying[manifest + 21] = 0;
    assert!(rejection_of(&lying).contains("was built with panic = \"abort\""));
}

#[test]
fn no_corruption_of_a_file_takes_the_host_down() {
    let mut agent = Agent::with_plugins("", &[&fixture("faulty")]);
    agent.running("faulty");
    let whole = steady();
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let (mut rejected, mut admitted) = (0, 0);
    for round in 0..40 {
        let mut bytes = whole.clone();
        corrupt(&mut bytes, 400, |limit| random.usize(..limit));
        let name = format!("corrupt{round}.so");
        agent.put(&name, &bytes);
        let state = wait_for("the verdict", || {
            let plugin = agent.plugin(&name)?;
            let state = plugin["state"].as_str().unwrap().to_owned();
            (state != "checking").then_some(state)
        });
        if state == "rejected" {
            rejected += 1
        } else {
            admitted += 1
        }
        fs::remove_file(agent.path(&name)).unwrap();
        wait_for("its removal", || agent.plugin(&name).is_none().then_some(()));
        assert!(agent.is_alive(), "corruption {round} took the host down");
    }
    println!("{rejected} of 40 corruptions rejected, {admitted} harmless");
    assert!(rejected > 20, "400 damaged bytes are seldom harmless: {rejected}");
    agent.running("faulty");
}

#[test]
fn two_files_of_one_plugin_are_one_too_many() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    agent.put("other.so", &fs::read(fixture("steady_v2")).unwrap());
    let why = agent.rejected("other.so");
    assert!(why.contains("is plugin `steady`, as ") && why.contains("remove one of the two"));
    assert_eq!(agent.snapshot()["steady"]["build"], 1);
}

#[test]
fn a_rejected_file_is_shown_by_list_with_and_without_a_host() {
    let agent = Agent::start("");
    agent.put("short.so", &steady()[..1000]);
    agent.rejected("short.so");
    let list = |arguments: &[&str]| {
        let output = Command::new(binary())
            .arg("list")
            .arg("--plugins")
            .arg(agent.root().join("plugins"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = list(&["--control", agent.control().to_str().unwrap()]);
    assert!(text.contains("short.so is cut short: it has 1000 bytes"), "{text}");
    let offline = list(&["--control", "off"]);
    assert!(offline.contains("no agent runs") && offline.contains("is cut short"), "{offline}");
    let json: serde_json::Value =
        serde_json::from_str(&list(&["--json", "--control", "off"])).unwrap();
    assert!(json["plugins"][0]["rejection"].as_str().unwrap().contains("is cut short"));
}

#[test]
fn list_reads_manifests_without_loading_anything() {
    let agent = Agent::start("");
    fs::copy(fixture("crashing_constructor"), agent.path("c.so")).unwrap();
    let output = Command::new(binary())
        .args(["list", "--json", "--control", "off", "--plugins"])
        .arg(agent.root().join("plugins"))
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["plugins"][0]["plugin"], "steady");
    assert_eq!(json["plugins"][0]["rejection"], serde_json::Value::Null);
}

#[test]
fn the_watched_file_is_never_what_is_mapped() {
    for isolation in ["process", "thread"] {
        let config = format!("[defaults]\nisolation = \"{isolation}\"\n");
        let agent = Agent::with_plugins(&config, &[&fixture("steady_v1")]);
        agent.running("steady");
        let watched = agent.path("libsteady_v1.so");
        for pid in agent.children().into_iter().chain([agent.pid()]) {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            assert!(!maps.contains(watched.to_str().unwrap()), "{isolation}: {maps}");
        }
    }
}

#[test]
fn copies_that_were_tidied_away_are_made_again() {
    let agent = Agent::with_plugins("[restart]\ninitial = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let staging = fs::read_dir(agent.root().join("run")).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(staging).unwrap();
    let runner = agent.children()[0].to_string();
    assert!(Command::new("kill").args(["-9", &runner]).status().unwrap().success());
    agent.until("steady", "back", |now| now["restarts"] == 1 && now["phase"] == "running");
    agent.put("other.so", &fs::read(fixture("faulty")).unwrap());
    agent.running("faulty");
}

#[test]
fn a_rejected_file_is_looked_at_again_when_what_was_wrong_is_mended() {
    let config = "[collectors.faulty]\ndeadline = \"300ms\"\n[collectors.faulty.settings]\nfault = \"hang\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("faulty"), &fixture("steady_v1")]);
    agent.rejected("libfaulty.so");
    agent.configure("[collectors.faulty.settings]\nfault = \"\"\n");
    agent.running("faulty");
    // The second of two files of one plugin takes over when the first is gone.
    agent.put("other.so", &fs::read(fixture("steady_v2")).unwrap());
    agent.rejected("other.so");
    fs::remove_file(agent.path("libsteady_v1.so")).unwrap();
    wait_for("the second file", || (agent.snapshot()["steady"]["build"] == 2).then_some(()));
}

#[test]
fn a_directory_that_can_t_be_read_for_a_while_has_not_lost_its_plugins() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let plugins = agent.root().join("plugins");
    // Not a directory that is not there, and not one that can be read: a loop of links.
    fs::rename(&plugins, agent.root().join("away")).unwrap();
    std::os::unix::fs::symlink("plugins", &plugins).unwrap();
    agent.logged("its plugins stay as they are");
    fs::remove_file(&plugins).unwrap();
    fs::rename(agent.root().join("away"), &plugins).unwrap();
    let batches = agent.collector("steady").unwrap()["batches"].as_u64();
    let steady = agent.until("steady", "going on", |now| now["batches"].as_u64() > batches);
    assert_eq!((&steady["generation"], &steady["restarts"]), (&1.into(), &0.into()));
}

#[test]
fn copies_are_private_and_gone_when_the_host_is() {
    use std::os::unix::fs::PermissionsExt;
    let mut agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let entries = |path: &Path| -> Vec<_> {
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let run = agent.root().join("run");
    let staging = entries(&run);
    assert_eq!(staging.len(), 1);
    assert_eq!(fs::metadata(&staging[0]).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(entries(&staging[0]).len(), 1);
    assert!(agent.terminate().success());
    assert_eq!(entries(&run), Vec::<std::path::PathBuf>::new());
}

/// /run may be mounted so, and the linker's own words for it don't tell why.
#[test]
fn a_runtime_directory_that_nothing_can_be_executed_in_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let mount =
        "mount -t tmpfs -o noexec tmpfs \"$1\" || exit 99; RUNTIME_DIRECTORY=$1 exec \"$0\" run";
    let output = Command::new("unshare")
        .arg("--mount")
        .args((!rustix::process::geteuid().is_root()).then_some("--map-root-user"))
        .args(["sh", "-c", mount])
        .arg(binary())
        .arg(directory.path())
        .env("DROPSONDE__HOST__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    if text.starts_with("unshare: ") || output.status.code() == Some(99) {
        skipped(format!("nothing can be mounted here: {text}"));
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    let expected = format!(
        "can't make a private directory in {}: it is mounted noexec, so that no plugin could be \
         loaded from there; set host.runtime_dir",
        directory.path().display()
    );
    assert!(text.contains(&expected), "{text}");
}
