use dropsonde_plugin_api::contract_test;
use dropsonde_plugin_api::testing::{Fixture, Harness, json};

use crate::{Connections, STATES, State};

const HEADINGS: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n";
const LISTENS: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n";
const SERVES: &str = "   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000\n";
const ASKS: &str = "   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000\n";

/// A procfs with these lines in `net/tcp`, and nothing in `net/tcp6`.
fn procfs(lines: &[&str]) -> Fixture {
    let tcp = HEADINGS.to_owned() + &lines.concat();
    Fixture::new()
        .file("net/tcp", tcp)
        .file("net/tcp6", HEADINGS)
}

/// Every state, with none in any but these.
fn states(counts: &[(&str, u64)]) -> Vec<State> {
    let count = |state| {
        counts
            .iter()
            .find(|(name, _)| *name == state)
            .map_or(0, |(_, count)| *count)
    };
    STATES
        .into_iter()
        .map(|state| State {
            state,
            connections: count(state),
        })
        .collect()
}

#[test]
fn every_state_is_counted_also_where_there_is_none() {
    let proc = procfs(&[LISTENS, SERVES, ASKS]);
    let mut connections = Harness::<Connections>::new(json!({ "proc_root": proc.root() })).unwrap();
    let round = connections.collect().unwrap();
    round.assert_records(states(&[("established", 2), ("listen", 1)]));

    proc.write("net/tcp", HEADINGS);
    connections.collect().unwrap().assert_records(states(&[]));
}

#[test]
fn only_the_ports_that_were_asked_for_are_counted() {
    let proc = procfs(&[LISTENS, SERVES, ASKS]);
    let settings = json!({ "proc_root": proc.root(), "ports": [8080] });
    let round = Harness::<Connections>::new(settings)
        .unwrap()
        .collect()
        .unwrap();
    round.assert_records(states(&[("established", 1), ("listen", 1)]));
}

#[test]
fn a_line_that_makes_no_sense_is_told_and_costs_no_other() {
    const UNKNOWN: &str = "   3: 0100007F:1F90 0100007F:C350 0D 00000000:00000000\n";
    let proc = procfs(&["   0: nonsense\n", UNKNOWN, LISTENS]);
    let settings = json!({ "proc_root": proc.root() });
    let round = Harness::<Connections>::new(settings)
        .unwrap()
        .collect()
        .unwrap();
    round.assert_records(states(&[("listen", 1)]));
    let unknown = UNKNOWN.trim_end();
    assert_eq!(
        round.partial,
        [
            "not a connection: `   0: nonsense`".to_owned(),
            format!("a state that is not known, 13: `{unknown}`"),
        ]
    );
}

#[test]
fn a_kernel_without_ipv6_is_told_and_costs_nothing_else() {
    let proc = procfs(&[LISTENS]);
    proc.remove("net/tcp6");
    let settings = json!({ "proc_root": proc.root() });
    let round = Harness::<Connections>::new(settings)
        .unwrap()
        .collect()
        .unwrap();
    round.assert_records(states(&[("listen", 1)]));
    assert!(round.partial[0].contains("net/tcp6"), "{:?}", round.partial);
}

#[test]
fn a_setting_that_can_not_be_is_named() {
    let error = Harness::<Connections>::new(json!({ "ports": [80, 0] }))
        .err()
        .unwrap();
    assert_eq!(error.path(), "ports[1]");
}

contract_test!(collector = Connections, streams = "streams.txt");
