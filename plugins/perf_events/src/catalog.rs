//! The events that can be asked for, by the names that perf-list(1) gives them.

use dropsonde_plugin_api::{Error, Result};
use perf_event::events::{Cache, CacheId, CacheOp, CacheResult, Hardware, Software};

/// An event that can be asked for.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: &'static str,
    /// What is counted, by UCUM.
    pub(crate) unit: &'static str,
    pub(crate) code: Code,
}

/// What perf_event_open(2) calls it.
#[derive(Debug)]
pub(crate) enum Code {
    Software(Software),
    Hardware(Hardware),
    Cache(Cache),
}

/// All events, in the order in which they are opened and published.
pub(crate) static EVENTS: [Event; 17] = [
    software("cpu-clock", "ns", Software::CPU_CLOCK),
    software("context-switches", "{switch}", Software::CONTEXT_SWITCHES),
    software("cpu-migrations", "{migration}", Software::CPU_MIGRATIONS),
    software("page-faults", "{fault}", Software::PAGE_FAULTS),
    hardware("cycles", "{cycle}", Hardware::CPU_CYCLES),
    hardware("instructions", "{instruction}", Hardware::INSTRUCTIONS),
    hardware("branches", "{branch}", Hardware::BRANCH_INSTRUCTIONS),
    hardware("branch-misses", "{miss}", Hardware::BRANCH_MISSES),
    loads("L1-dcache-loads", CacheId::L1D),
    load_misses("L1-dcache-load-misses", CacheId::L1D),
    loads("LLC-loads", CacheId::LL),
    load_misses("LLC-load-misses", CacheId::LL),
    loads("L1-icache-loads", CacheId::L1I),
    loads("dTLB-loads", CacheId::DTLB),
    load_misses("dTLB-load-misses", CacheId::DTLB),
    loads("iTLB-loads", CacheId::ITLB),
    load_misses("iTLB-load-misses", CacheId::ITLB),
];

const fn software(name: &'static str, unit: &'static str, event: Software) -> Event {
    Event { name, unit, code: Code::Software(event) }
}

const fn hardware(name: &'static str, unit: &'static str, event: Hardware) -> Event {
    Event { name, unit, code: Code::Hardware(event) }
}

const fn loads(name: &'static str, which: CacheId) -> Event {
    let cache = Cache { which, operation: CacheOp::READ, result: CacheResult::ACCESS };
    Event { name, unit: "{load}", code: Code::Cache(cache) }
}

const fn load_misses(name: &'static str, which: CacheId) -> Event {
    let cache = Cache { which, operation: CacheOp::READ, result: CacheResult::MISS };
    Event { name, unit: "{miss}", code: Code::Cache(cache) }
}

/// The events of the setting `events`; all of them if it is not set.
pub(crate) fn choose(names: Option<&[String]>) -> Result<Vec<&'static Event>> {
    let Some(names) = names else { return Ok(EVENTS.iter().collect()) };
    if names.is_empty() {
        return Err(Error::setting("events", "name at least one, or leave it out for all"));
    }
    let mut chosen: Vec<&Event> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let at = format!("events[{index}]");
        let Some(event) = EVENTS.iter().find(|event| event.name == name) else {
            return Err(Error::setting(at, unknown(name)));
        };
        if chosen.iter().any(|before| before.name == event.name) {
            return Err(Error::setting(at, format_args!("`{name}` is named twice")));
        }
        chosen.push(event);
    }
    Ok(chosen)
}

fn unknown(name: &str) -> String {
    let wanted = name.to_lowercase().replace('_', "-");
    let distance = |event: &&Event| edit_distance(&wanted, &event.name.to_lowercase());
    let nearest = EVENTS.iter().min_by_key(distance).filter(|event| distance(event) <= 3);
    let hint = nearest.map_or(String::new(), |event| format!("did you mean `{}`? ", event.name));
    let known: Vec<_> = EVENTS.iter().map(|event| event.name).collect();
    format!("unknown event `{name}`; {hint}known: {}", known.join(", "))
}

/// Levenshtein's: how many letters to insert, remove or exchange.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let exchanged = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(names: &[&str]) -> Error {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        choose(Some(&names)).unwrap_err()
    }

    #[test]
    fn no_list_means_all_and_a_list_keeps_its_order() {
        assert_eq!(choose(None).unwrap().len(), 17);
        let names = ["page-faults".to_owned(), "cycles".to_owned()];
        let chosen = choose(Some(&names)).unwrap();
        assert_eq!(chosen.iter().map(|event| event.name).collect::<Vec<_>>(), names);
    }

    #[test]
    fn an_unknown_event_names_its_place_the_nearest_and_all_known() {
        let error = error(&["cycles", "page_fault"]);
        assert_eq!(error.path(), "events[1]");
        let start = "unknown event `page_fault`; did you mean `page-faults`? known: cpu-clock, ";
        assert!(error.message().starts_with(start), "{error}");
        assert!(error.message().ends_with("iTLB-loads, iTLB-load-misses"), "{error}");
    }

    #[test]
    fn nothing_is_suggested_for_what_resembles_nothing() {
        assert!(
            error(&["temperature"]).message().starts_with("unknown event `temperature`; known:")
        );
    }

    #[test]
    fn an_empty_list_and_a_repeated_name_are_errors() {
        assert_eq!(error(&[]).path(), "events");
        assert_eq!(error(&["cycles", "cycles"]).path(), "events[1]");
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in [("", "abc", 3), ("abc", "abc", 0), ("abc", "axc", 1), ("ab", "ba", 2)]
        {
            assert_eq!(edit_distance(a, b), edits, "{a} {b}");
        }
    }
}
