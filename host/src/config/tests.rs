use std::fs;

use super::*;

fn load(text: &str) -> Result<Config, ConfigErrors> {
    load_with(text, &[])
}

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("d.toml");
    fs::write(&file, text).unwrap();
    let environment =
        environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Config::load(&Sources { file: Some(file), environment, ..Sources::default() })
}

/// Errors without the directory, which differs from run to run.
fn errors(text: &str) -> Vec<String> {
    let ConfigErrors(errors) = load(text).unwrap_err();
    let line = |error: &ConfigError| {
        let text = error.to_string();
        text.rsplit_once("/d.toml:").map_or(text.clone(), |(_, rest)| rest.to_owned())
    };
    errors.iter().map(line).collect()
}

#[test]
fn no_collector_takes_the_place_of_a_snapshots_time() {
    let error = "1:13: collectors.timestamp: snapshots have their time there; choose another \
                 name, and `plugin = …`";
    assert_eq!(errors("[collectors.timestamp]\nplugin = \"cpu\"\n"), [error]);
}

#[test]
fn an_error_names_line_column_and_the_nearest_key() {
    let text = "[collectors.network]\ninterval = \"1s\"\n  intervall = \"2s\"\n";
    assert_eq!(
        errors(text),
        ["3:3: collectors.network: unknown key `intervall`; did you mean `interval`?"]
    );
    assert_eq!(
        errors("[colectors.cpu]\n"),
        ["1:2: unknown key `colectors`; did you mean `collectors`?"]
    );
}

#[test]
fn every_wrong_value_is_reported_at_once() {
    let text = "[host]\nlog = \"inof\"\nlisten = 5\n[collectors.cpu]\ninterval = \"5 parsecs\"\nisolation = \"jail\"\n";
    let found = errors(text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("3:10: host.listen: expected a string, found a number"));
    assert_eq!(found[1], "2:7: host.log: `inof` is no level; did you mean `info`?");
    assert!(found[2].starts_with("5:12: collectors.cpu.interval: expected a duration such as"));
    assert_eq!(
        found[3],
        "6:13: collectors.cpu.isolation: `jail` is no isolation: it is \"process\" or \"thread\""
    );
}

#[test]
fn a_syntax_error_names_its_place() {
    let found = errors("[host]\nlisten = \n");
    assert!(found[0].starts_with("2:"), "{found:?}");
}

#[test]
fn the_environment_wins_over_the_file_and_names_itself_in_errors() {
    let config = load_with(
        "[collectors.cpu]\ninterval = \"1s\"\nisolation = \"thread\"\n",
        &[("DROPSONDE__COLLECTORS__CPU__INTERVAL", "5s"), ("UNRELATED", "x")],
    )
    .unwrap();
    let cpu = &config.collectors["cpu"];
    assert_eq!((cpu.interval, cpu.isolation), (Some(Duration::from_secs(5)), Isolation::Thread));

    let ConfigErrors(errors) = load_with("", &[("DROPSONDE__HOST__LOK", "1")]).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "environment variable DROPSONDE__HOST__LOK: host: unknown key `lok`; did you mean `log`?"
    );
}

#[test]
fn the_file_wins_over_conf_d_and_later_names_over_earlier() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("d.toml");
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    let part = |name: &str, text: &str| {
        fs::write(directory.path().join("conf.d").join(name), text).unwrap();
    };
    part("10-a.toml", "[collectors.a]\ninterval = \"1s\"\ndeadline = \"1s\"\n");
    part("20-b.toml", "[collectors.a]\ninterval = \"2s\"\ndeadline = \"2s\"\n");
    part("30-c.txt", "nonsense");
    fs::write(&file, "[collectors.a]\ninterval = \"3s\"\n").unwrap();
    let config = Config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    let a = &config.collectors["a"];
    assert_eq!(a.interval, Some(Duration::from_secs(3)));
    assert_eq!(a.deadline, Duration::from_secs(2));
    assert_eq!(config.files.len(), 3);
}

#[test]
fn a_plugin_s_settings_error_points_at_the_user_s_line() {
    let config =
        load("[collectors.disk.settings]\nmounts = [\n  \"/\",\n  5,\n]\nexlude = []\n").unwrap();
    let disk = &config.collectors["disk"];
    let at = |path: &str, message: &str| {
        let text = disk.settings_error(path, message).to_string();
        text.rsplit_once("/d.toml:").unwrap().1.to_owned()
    };
    assert_eq!(
        at("mounts[1]", "invalid type"),
        "4:3: collectors.disk.settings.mounts[1]: invalid type"
    );
    assert_eq!(
        at("exlude", "unknown field `exlude`, expected `exclude` or `mounts`"),
        "6:1: collectors.disk.settings.exlude: unknown key `exlude`; did you mean `exclude`?"
    );
}

#[test]
fn a_file_that_is_named_must_exist() {
    let sources = Sources { file: Some("/nonexistent/d.toml".into()), ..Sources::default() };
    let ConfigErrors(errors) = Config::load(&sources).unwrap_err();
    let text = errors[0].to_string();
    assert!(text.starts_with("/nonexistent/d.toml:1:1: can't be read: "), "{text}");
}

#[test]
fn moving_a_setting_to_another_line_changes_nothing() {
    let before = load("[collectors.a]\ninterval = \"1s\"\n[collectors.a.settings]\nx = 1\n");
    let after =
        load("\n# moved\n[collectors.a.settings]\nx = 1\n[collectors.a]\ninterval = \"1s\"\n");
    assert_eq!(before.unwrap().collectors, after.unwrap().collectors);
}

#[test]
fn a_key_that_is_none_is_named_with_its_own_place() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let found = errors(&format!(
        "[plugins]\ntrusted_keys = [\n  \"{key}\",\n  \"RWnonsense\",\n  5,\n]\nrequire_signature = true\n"
    ));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with(
            "4:3: plugins.trusted_keys[1]: is no minisign public key; write the second"
        )
    );
    assert!(found[1].starts_with("5:3: plugins.trusted_keys[2]: expected a string, found"));

    let good = load(&format!("[plugins]\ntrusted_keys = [\"{key}\"]\nrequire_signature = true\n"));
    let trust = good.unwrap().trust;
    assert_eq!((trust.keys.len(), trust.require_signature), (1, true));
    assert!(!trust.allow_unsafe_permissions);
}

#[test]
fn a_signature_can_be_required_only_where_a_key_is_trusted() {
    let found = errors("[plugins]\nrequire_signature = true\n");
    assert_eq!(
        found,
        [
            "2:21: plugins.require_signature: no key is trusted, so no plugin could be admitted; set plugins.trusted_keys"
        ]
    );
    assert!(load("[plugins]\nrequire_signature = false\n").is_ok());
}

#[test]
fn a_number_that_json_lacks_is_no_missing_value() {
    let config = load("[collectors.a.settings]\nx = [inf, -nan, 1e999, 2.5]\n").unwrap();
    let settings = config.collectors["a"].settings_json();
    assert_eq!(settings, r#"{"x":["inf","-nan","1e999",2.5]}"#);
}

#[test]
fn a_configuration_that_is_nested_too_deeply_is_refused() {
    let keys = "a.".repeat(70);
    let text = format!("[collectors.b.settings]\n{keys}a = 1\n");
    let found = errors(&text);
    assert!(found[0].starts_with("2:115: nested too deeply: the most are 60 "), "{found:?}");
    // As deep as the parser lets it be, with and without an end: a destructor that calls itself
    // for each table would overflow the stack.
    let deep = format!("{}a = ", format!("a = {{ {keys}").repeat(78));
    assert!(errors(&deep)[0].starts_with("1:"));
    assert!(errors(&format!("{deep}1{}", "}".repeat(78)))[0].contains(": nested too deeply: "));

    let name = format!("DROPSONDE__COLLECTORS__B__SETTINGS{}", "__A".repeat(40_000));
    let ConfigErrors(errors) = load_with("", &[(&name, "1")]).unwrap_err();
    assert!(errors[0].message.starts_with("nested too deeply: "));
}

#[test]
fn a_share_of_the_cpu_is_one_that_a_machine_can_have() {
    let text = |percent: u64| format!("[defaults.limits]\ncpu_percent = {percent}\n");
    assert_eq!(load(&text(1_000_000)).unwrap().defaults.limits.cpu_percent, 1_000_000);
    let found = errors(&text(i64::MAX as u64));
    assert_eq!(found, ["2:15: defaults.limits.cpu_percent: the most is 1000000"]);
}

#[test]
fn the_place_of_a_value_is_found_in_a_long_line() {
    let values = "\"ä\", ".repeat(50_000);
    let found = errors(&format!("[plugins]\ndirectories = [{values}5]\n"));
    assert!(found[0].starts_with("2:15: plugins.directories: "), "{}", found[0]);
    let found = errors(&format!("[plugins]\ntrusted_keys = [{values}5]\n"));
    assert!(found[50_000].starts_with("2:250017: plugins.trusted_keys[50000]: "));
}

#[test]
fn history_is_off_until_streams_are_named_and_its_mistakes_have_their_place() {
    let history = |text: &str| load(text).unwrap().history;
    assert_eq!(history(""), None);
    assert_eq!(history("[history]\nflush = \"1s\"\nstreams = []\n"), None);
    let text = "[host]\nstate_dir = \"/var/lib/d\"\n[history]\nstreams = [\"metrics.>\"]\n\
                interval = \"1min\"\n[history.keep]\nraw = \"2h\"\nsize = \"1GiB\"\n";
    let given = history(text).unwrap();
    assert_eq!(given.path, PathBuf::from("/var/lib/d/history/history.db"));
    assert_eq!((given.interval.as_secs(), given.flush.as_secs()), (60, 10));
    let keep = Keep { raw: Duration::from_secs(7200), size: 1 << 30, ..Keep::default() };
    assert_eq!(given.keep, keep);
    let text = "[history]\nstreams = [\"metrics.cpu\", \"metrics..\"]\ninterval = \"1ms\"\n\
                pth = \"x\"\n[history.keep]\nsize = \"1KiB\"\nhours = \"1h\"\n";
    let mut found = errors(text);
    found.sort();
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].starts_with("2:27: history.streams[1]: `metrics..` has an empty token"));
    assert!(found[1].starts_with("3:12: history.interval: the shortest interval is 10ms"));
    assert_eq!(found[2], "4:1: history: unknown key `pth`; did you mean `path`?");
    assert_eq!(found[3], "6:8: history.keep.size: the smallest size is \"1MiB\"");
    assert_eq!(found[4], "7:1: history.keep: unknown key `hours`; did you mean `hour`?");
}

/// The file that the Debian package installs.
const PACKAGED: &str = include_str!("../../debian/dropsonde.toml");

/// It with each `#key = value` in force.
fn packaged_in_force() -> String {
    let in_force = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase()) => rest.to_owned(),
        _ => line.to_owned(),
    };
    PACKAGED.lines().map(in_force).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_packaged_file_changes_nothing_and_names_the_defaults() {
    let same = |config: Config| {
        Config { files: Vec::new(), file: PathBuf::new(), ..config } // where it stands
    };
    let built_in = same(load("").unwrap());
    assert_eq!(same(load(PACKAGED).unwrap()), built_in);
    let in_force = packaged_in_force();
    let keys = in_force.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    assert_eq!(keys.count(), 19);
    assert_eq!(same(load(&in_force).unwrap()), built_in);
}

#[test]
fn the_examples_in_the_packaged_file_are_valid() {
    let uncommented = |line: &str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let is_toml = line.starts_with('[') || line.contains(" = ");
        is_toml.then(|| line.to_owned())
    };
    let tables = PACKAGED.lines().skip_while(|line| !line.starts_with('['));
    let text: Vec<String> = tables.filter_map(uncommented).collect();
    let config = load(&text.join("\n")).unwrap();
    assert!(config.collectors.contains_key("network") && config.history.is_some());
    assert!(config.otlp.is_some());
}
