use dropsonde_plugin_api::Record;
use dropsonde_plugin_api::schema::Role;
use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Value, json};

use crate::NetworkCollector;
use crate::records::{Interface, Totals};

const HEADINGS: &[u8] = b"Inter-| Receive | Transmit\n face |bytes |bytes\n";

fn root(fixture: &str) -> String {
    format!("{}/fixtures/{fixture}/proc", env!("CARGO_MANIFEST_DIR"))
}

fn collector(fixture: &str) -> Harness<NetworkCollector> {
    Harness::new(json!({ "proc_root": root(fixture) })).unwrap()
}

fn interfaces_with(include: Value, exclude: Value) -> Vec<String> {
    let settings = json!({ "proc_root": root("server"), "include": include, "exclude": exclude });
    names(&Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap())
}

fn names(round: &Round) -> Vec<String> {
    let name = |row: &serde_json::Map<_, Value>| row["interface"].as_str().unwrap().to_owned();
    round.rows("interfaces").iter().map(name).collect()
}

/// A proc root whose net/dev holds these lines below the headings.
fn written(lines: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("net")).unwrap();
    let text = [HEADINGS, lines].concat();
    std::fs::write(directory.path().join("net/dev"), text).unwrap();
    directory
}

#[test]
fn every_counter_of_an_interface_is_the_kernels_number() {
    let round = collector("server").collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let expected = json!({
        "interface": "eth0",
        "bytes_sent": 1_279_228,
        "bytes_recv": 312_979_964,
        "packets_sent": 13_195,
        "packets_recv": 19_744,
        "errout": 7,
        "errin": 1,
        "dropout": 8,
        "dropin": 2,
    });
    let row = round.row("interfaces", "interface", "eth0");
    assert_eq!(Value::Object(row.clone()), expected);
    assert_eq!(names(&round), ["lo", "eth0", "veth1a@"]);
}

#[test]
fn the_totals_are_the_sums_of_all_reported_interfaces() {
    let round = collector("server").collect().unwrap();
    let expected = json!({
        "bytes_sent": 3193 + 1_279_228 + 1,
        "bytes_recv": 3193 + 312_979_964 + 1000,
        "packets_sent": 29 + 13_195 + 2,
        "packets_recv": 29 + 19_744 + 5,
        "errout": 7,
        "errin": 1,
        "dropout": 8,
        "dropin": 2,
    });
    assert_eq!(round.rows("").len(), 1);
    assert_eq!(Value::Object(round.rows("")[0].clone()), expected);
}

#[test]
fn include_and_exclude_choose_by_name_and_pattern() {
    assert_eq!(interfaces_with(json!(["*"]), json!(["lo", "veth*"])), ["eth0"]);
    assert_eq!(interfaces_with(json!(["*eth*"]), json!([])), ["eth0", "veth1a@"]);
    assert_eq!(interfaces_with(json!(["eth0", "lo"]), json!(["lo"])), ["eth0"]);
}

#[test]
fn the_totals_leave_out_what_is_excluded() {
    let settings = json!({ "proc_root": root("server"), "include": ["lo"] });
    let round = Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap();
    assert_eq!(round.rows("")[0]["bytes_recv"], 3193);
}

#[test]
fn without_a_reported_interface_there_is_an_empty_list_and_no_total() {
    let settings = json!({ "proc_root": root("server"), "exclude": ["*"] });
    let round = Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap();
    assert_eq!(round.streams().collect::<Vec<_>>(), ["interfaces"]);
    assert!(round.rows("interfaces").is_empty());
}

#[test]
fn a_name_with_odd_characters_is_reported() {
    let directory = written(
        b"  \xff\"{},=\xe2\x98\x83: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\xe3\x80\x80a:1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n",
    );
    let settings = json!({ "proc_root": directory.path() });
    let round = Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap();
    assert_eq!(names(&round), ["\u{fffd}\"{},=\u{2603}", "\u{3000}a"]);
    assert_eq!(round.rows("")[0]["packets_sent"], 8);
}

#[test]
fn a_malformed_line_costs_its_interface_and_the_totals_but_no_other() {
    let round = collector("malformed").collect().unwrap();
    assert_eq!(names(&round), ["lo", "veth1a@"]);
    assert!(round.rows("").is_empty());
    assert_eq!(round.partial.len(), 1);
    assert!(round.partial[0].contains("`eth0`"), "{:?}", round.partial);
}

#[test]
fn a_malformed_line_of_an_excluded_interface_does_no_harm() {
    let settings = json!({ "proc_root": root("malformed"), "exclude": ["eth0"] });
    let round = Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap();
    assert!(round.partial.is_empty());
    assert_eq!(round.rows("")[0]["bytes_recv"], 4193);
}

#[test]
fn a_short_line_is_reported_and_not_filled_with_zeros() {
    let directory = written(b"eth0: 1 2 3\n");
    let settings = json!({ "proc_root": directory.path() });
    let round = Harness::<NetworkCollector>::new(settings).unwrap().collect().unwrap();
    assert!(names(&round).is_empty());
    assert_eq!(round.partial.len(), 1);
}

#[test]
fn a_file_without_headings_is_an_error_that_names_it() {
    let error = collector("headless").collect().unwrap_err();
    assert!(error.message().contains("headless/proc/net/dev"), "{error}");
    assert!(error.message().contains("headings"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = collector("nowhere").collect().unwrap_err();
    assert!(error.message().contains("fixtures/nowhere/proc/net/dev"), "{error}");
}

#[test]
fn only_the_wanted_stream_is_pushed_and_without_any_nothing_is_read() {
    let mut network = collector("server");
    let streams = |round: Round| round.streams().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(streams(network.collect_only(&[""]).unwrap()), [""]);
    assert_eq!(streams(network.collect_only(&["interfaces"]).unwrap()), ["interfaces"]);
    assert!(streams(collector("nowhere").collect_only(&[]).unwrap()).is_empty());
}

#[test]
fn the_file_stays_open_and_shows_new_content() {
    let directory = written(b"eth0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n");
    let mut network =
        Harness::<NetworkCollector>::new(json!({ "proc_root": directory.path() })).unwrap();
    assert_eq!(names(&network.collect().unwrap()), ["eth0"]);
    let path = directory.path().join("net/dev");
    let lines = b"eth0: 5 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\nwg0: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n";
    std::fs::write(&path, [HEADINGS, lines].concat()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let round = network.collect().unwrap();
    assert_eq!(names(&round), ["eth0", "wg0"]);
    assert_eq!(round.rows("")[0]["bytes_recv"], 6);
}

#[test]
fn only_the_interfaces_carry_metric_names_and_each_is_a_counter_with_a_direction() {
    assert!(Totals::schema().columns.iter().all(|column| column.otel.is_empty()));
    for column in Interface::schema().columns {
        assert!(!column.otel.is_empty(), "{}", column.name);
        if column.role != Role::Key {
            assert_eq!(column.role, Role::Counter);
            assert_eq!(column.attributes.len(), 1, "{}", column.name);
        }
    }
}

#[test]
fn the_live_system_has_its_loopback() {
    let round = Harness::<NetworkCollector>::new(json!({})).unwrap().collect().unwrap();
    round.row("interfaces", "interface", "lo");
    assert_eq!(round.rows("").len(), 1);
}

// The loopback alone: the totals fall when an interface goes away.
dropsonde_plugin_api::contract_test!(
    collector = NetworkCollector,
    settings = { "include": ["lo"] },
    streams = "streams.txt",
);
