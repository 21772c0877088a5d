//! Who exports: the attributes of the resource, by the semantic conventions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::wire;
use crate::model::Value;

/// The default attributes, under those that were configured.
pub(super) fn resource(configured: &BTreeMap<String, Json>, state_dir: &Path) -> Resource {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let defaults = [
        ("service.name", "dropsonde".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance(host.trim(), state_dir)),
        ("host.name", host.trim().to_owned()),
        ("os.type", std::env::consts::OS.to_owned()),
        ("host.arch", arch().to_owned()),
    ];
    let mut attributes: BTreeMap<String, Json> =
        defaults.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    attributes.extend(configured.clone());
    let attributes = attributes.iter().filter_map(|(name, value)| attribute(name, value)).collect();
    Resource { attributes, ..Resource::default() }
}

fn attribute(name: &str, value: &Json) -> Option<KeyValue> {
    let value = match value {
        Json::String(text) => Value::Text(text),
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::I64(number),
            None => Value::F64(number.as_f64()?),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    };
    wire::key_value(name, value)
}

/// A UUID that is the same after a restart, so that the series go on, and another for each agent
/// of a machine: of version 8 (RFC 9562), from the machine's id, which machine-id(5) asks not to
/// show as it is, and the state directory.
fn instance(host: &str, state_dir: &Path) -> String {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let mut hash = Sha256::new();
    for part in ["dropsonde service.instance.id", machine.trim(), host] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(state_dir.as_os_str().as_encoded_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut text = String::with_capacity(36);
    for (index, byte) in hash.into_iter().take(16).enumerate() {
        let byte = match index {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => byte,
        };
        let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
        text.push_str(&format!("{dash}{byte:02x}"));
    }
    text
}

/// As the semantic conventions call it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_keeps_its_id_and_no_two_have_the_same() {
        let id = |host: &str, dir: &str| instance(host, Path::new(dir));
        assert_eq!(id("a", "/x"), id("a", "/x"));
        assert_ne!(id("a", "/x"), id("a", "/y"));
        assert_ne!(id("a", "/x"), id("b", "/x"));
        let id = id("a", "/x");
        assert_eq!((id.len(), &id[14..15]), (36, "8"), "{id}");
    }
}
