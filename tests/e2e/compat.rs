//! Host and plugin of neighbouring API versions understand each other; others are refused in a
//! line.

use std::fs;
use std::path::PathBuf;

use dropsonde_tests::{Agent, Options, fixture, replace_bytes, wait_for};

use crate::packages;

/// Host and plugin of API 1.1, which differs from 1.0 by one more field in what a plugin exports.
fn next() -> (PathBuf, PathBuf) {
    let built = packages::build("tests/next-api", &["--bins", "--examples"]);
    (built.join("dropsonde-next"), built.join("examples/libnext_plugin.so"))
}

fn api_version(agent: &Agent, file: &str) -> String {
    agent.plugin(file).unwrap()["api_version"].as_str().unwrap().to_owned()
}

/// Puts a damaged copy of a good plugin into a running agent, and returns why it was rejected.
fn rejection_of(damage: impl FnOnce(&mut [u8])) -> String {
    let mut bytes = fs::read(fixture("steady_v1")).unwrap();
    damage(&mut bytes);
    let mut agent = Agent::start("");
    agent.put("libsteady.so", &bytes);
    let why = agent.rejected("libsteady.so");
    assert!(agent.is_alive());
    why
}

#[test]
fn a_host_runs_plugins_of_the_api_before_its_own() {
    let (host, plugin) = next();
    for isolation in ["process", "thread"] {
        let agent = Agent::with(Options {
            config: format!("[defaults]\nisolation = \"{isolation}\"\n"),
            plugins: vec![
                (fixture("steady_v1"), "libsteady.so".to_owned()),
                (plugin.clone(), "libnext.so".to_owned()),
            ],
            binary: Some(host.clone()),
            ..Options::default()
        });
        assert_eq!(agent.running("steady")["isolation"], isolation);
        assert_eq!(agent.running("next")["isolation"], isolation);
        assert_eq!(api_version(&agent, "libsteady.so"), "1.0");
        assert_eq!(api_version(&agent, "libnext.so"), "1.1");
        let snapshot = agent.snapshot();
        assert_eq!(snapshot["steady"]["build"], 1);
        assert_eq!(snapshot["next"]["api_minor"], 1);
    }
}

#[test]
fn a_host_runs_plugins_of_the_api_after_its_own() {
    let (_, plugin) = next();
    for isolation in ["process", "thread"] {
        let agent = Agent::with(Options {
            config: format!("[defaults]\nisolation = \"{isolation}\"\n"),
            plugins: vec![(plugin.clone(), "libnext.so".to_owned())],
            ..Options::default()
        });
        assert_eq!(agent.running("next")["isolation"], isolation);
        assert_eq!(api_version(&agent, "libnext.so"), "1.1");
        assert_eq!(agent.snapshot()["next"]["api_minor"], 1);
    }
}

/// The plugin was written by hand against the types of 1.0, in another edition of Rust, and is
/// compiled with another optimisation than the host.
#[test]
fn a_plugin_made_of_the_oldest_api_loads_in_this_host() {
    let plugin = packages::build_plugin("tests/api-1.0").join("liboldest.so");
    for isolation in ["process", "thread"] {
        let mut agent = Agent::with(Options {
            config: format!("[defaults]\nisolation = \"{isolation}\"\n"),
            plugins: vec![(plugin.clone(), "liboldest.so".to_owned())],
            ..Options::default()
        });
        assert_eq!(agent.running("oldest")["isolation"], isolation);
        assert_eq!(api_version(&agent, "liboldest.so"), "1.0");
        agent.logged("the oldest lives");
        wait_for("some rounds", || {
            agent.snapshot()["oldest"]["oldest"]["rounds"].as_u64().filter(|rounds| *rounds > 3)
        });
        agent.configure(&format!(
            "[defaults]\nisolation = \"{isolation}\"\n[collectors.oldest.settings]\nkey = 1\n"
        ));
        agent.logged("collectors.oldest.settings.key: unknown");
        assert!(agent.terminate().success());
    }
}

#[test]
fn a_plugin_of_another_major_api_is_refused_unloaded() {
    let why = rejection_of(|bytes| {
        let magic = b"DROPSND\0";
        let at = bytes.windows(magic.len()).position(|window| window == magic).unwrap();
        // The major number follows the magic, the format and the size.
        bytes[at + 16..at + 18].copy_from_slice(&2_u16.to_le_bytes());
    });
    assert!(why.contains("needs plugin API 2.0, this host has 1.0; build it against"), "{why}");
}

#[test]
fn a_plugin_whose_types_differ_is_refused_with_both_versions_and_the_difference() {
    // Names of fields, as the layout in the file has them; then what is said of them.
    let cases: [(&[u8], &[u8], &str); 3] = [
        (
            b"describe;check_settings;",
            b"describe;check_anything;",
            "field `check_settings` here, `check_anything` there in `PluginModule`",
        ),
        (
            b"collector;state_dir;AbiHost",
            b"collector;cache_dir;AbiHost",
            "field `state_dir` here, `cache_dir` there in `AbiHost`",
        ),
        (
            b"dropsonde-plugin-api;1.0.0",
            b"dropsonde-plugin-api;3.0.0",
            "API 1.0.0 here, 3.0.0 there in ",
        ),
    ];
    for (from, to, difference) in cases {
        let why = rejection_of(|bytes| assert!(replace_bytes(bytes, from, to) > 0));
        assert!(why.contains("its plugin API 1.0.0 does not fit this host's 1.0: "), "{why}");
        assert!(why.contains(difference), "{why}");
        assert!(why.ends_with("; rebuild it against this host's API"), "{why}");
        assert!(why.len() < 400, "{} bytes: {why}", why.len());
    }
}
