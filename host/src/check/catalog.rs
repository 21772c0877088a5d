//! The checks by their ids, which stay: programs go by them. In the order in which they are shown.

/// Id, and what it holds a plugin to.
pub(crate) const CATALOG: [(&str, &str); 43] = [
    ("file.read", "the file can be read, and is no larger than a plugin may be"),
    ("file.trust", "nobody else could have written it; its signature fits, if one is asked for"),
    ("elf.intact", "it is a whole shared object for this machine"),
    ("elf.entry", "it exports the entry symbol"),
    ("elf.unwind", "its panics unwind, so that they can be caught"),
    ("elf.nodelete", "the linker can unload it"),
    ("elf.static_tls", "it takes nothing of the room for static thread-local storage"),
    ("manifest.read", "it has a manifest, and the manifest makes sense"),
    ("manifest.api", "it was built against an API of the host's major version"),
    ("trial.load", "it loads in a process of its own, and its types are those of the host"),
    ("trial.create", "an instance can be created"),
    ("trial.round", "the agent's trial of one round admits it"),
    ("streams.declared", "its declaration of streams is accepted"),
    ("streams.name", "names are plain, and fit their units"),
    ("streams.unit", "each number has a unit of UCUM"),
    ("streams.description", "all is described, in one style"),
    ("streams.key", "records of one batch are told apart by keys"),
    ("streams.otel", "OpenTelemetry names are formed as the semantic conventions want"),
    ("streams.prometheus", "no two columns are the same sample on the Prometheus page"),
    ("settings.default", "it runs without settings, or says which it needs"),
    ("settings.unknown", "an unknown key is refused by name"),
    ("settings.type", "a value of the wrong type is refused by the name of its key"),
    ("collect.outcome", "all rounds succeed"),
    ("collect.time", "a round is over long before the next is due"),
    ("collect.cpu", "it takes little CPU time at its interval"),
    ("collect.rows", "each stream delivers, and within the limit of rows"),
    ("collect.growth", "the number of series does not go on growing"),
    ("collect.counters", "counters don't fall"),
    ("collect.memory", "its process's memory does not go on growing"),
    ("collect.descriptors", "it leaves no descriptor open in each round"),
    ("collect.threads", "it leaves no thread running in each round"),
    ("collect.processes", "it leaves no process running when it has stopped"),
    ("collect.allocations", "how often it allocates"),
    ("collect.log", "it does not log in each round"),
    ("stop.time", "it stops within the deadline"),
    ("stop.outcome", "it stops without a word"),
    ("reload.outcome", "it can be loaded again and again on threads of one process"),
    ("reload.unmapped", "each time nothing of it stays mapped"),
    ("reload.memory", "reloads leave no memory behind"),
    ("reload.left", "reloads leave no descriptors, threads and processes behind"),
    ("reload.conduct", "on a thread it keeps its hands off what is the whole process's"),
    ("sandbox.needed", "it needs each capability that it asks for"),
    ("sandbox.denied", "it tries nothing that it did not ask for"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_each_has_a_group() {
        let ids: std::collections::HashSet<&str> = CATALOG.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), CATALOG.len());
        assert!(CATALOG.iter().all(|(id, what)| id.contains('.') && !what.is_empty()));
    }
}
