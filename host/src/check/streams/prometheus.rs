//! What becomes of the columns on the Prometheus page: samples must not be each other's twins,
//! and a family has one type.

use std::collections::HashMap;
use std::sync::Arc;

use dropsonde_plugin_api::schema::StreamSchema;

use crate::check::report::Check;
use crate::model::StreamInfo;
use crate::sink::prometheus::{Place, place};

const ID: &str = "streams.prometheus";

pub(super) fn check(plugin: &str, streams: &[StreamSchema]) -> Check {
    let name: Arc<str> = plugin.into();
    let mut problems = Vec::new();
    let mut kinds: HashMap<String, (&str, String)> = HashMap::new();
    let mut taken: HashMap<Place, String> = HashMap::new();
    for schema in streams {
        let info = StreamInfo::new(&name, &name, schema.clone());
        for (index, column) in info.schema.columns.iter().enumerate() {
            let Some(place) = place(&info, index) else { continue };
            let here = format!("`{}.{}`", info.name, column.name);
            let (kind, first) =
                kinds.entry(place.name.clone()).or_insert((place.kind, here.clone()));
            if *kind != place.kind {
                let found = format!(
                    "`{}` would be a {kind} ({first}) and a {} ({here})",
                    place.name, place.kind
                );
                problems.push(Check::fail(ID, found, "give one of the two another name"));
                continue;
            }
            let family = place.name.clone();
            if let Some(twin) = taken.insert(place, here.clone()) {
                let found =
                    format!("{here} and {twin} would both be `{family}`, with the same labels");
                let mend = "tell them apart by attributes(…), or by another name";
                problems.push(Check::fail(ID, found, mend));
            }
        }
    }
    Check::of(ID, problems, format!("{} families, each of one type", kinds.len()))
}

#[cfg(test)]
mod tests {
    use dropsonde_plugin_api::schema::Role;

    use super::super::tests::{stream, texts};
    use super::*;
    use crate::check::report::Outcome;

    #[test]
    fn twins_and_families_of_two_types_fail() {
        let good = stream(&[("sent", Role::Counter, "By", "net.io"), ("x", Role::Gauge, "1", "")]);
        assert_eq!(check("p", &[good]).outcome, Outcome::Pass);
        let mut twins =
            stream(&[("a", Role::Counter, "By", "net.io"), ("b", Role::Counter, "By", "net.io")]);
        assert!(
            texts(&check("p", std::slice::from_ref(&twins)))
                .contains("would both be `net_io_bytes_total`")
        );
        twins.columns[0].attributes = vec![("direction".into(), "in".into())];
        assert_eq!(check("p", &[twins]).outcome, Outcome::Pass);
        let mut mixed =
            stream(&[("a", Role::Counter, "{x}", ""), ("a_total", Role::Gauge, "{x}", "")]);
        mixed.columns[1].attributes = vec![("kind".into(), "b".into())];
        let found = check("p", &[mixed]);
        assert!(texts(&found).contains("would be a counter"), "{found:?}");
    }
}
