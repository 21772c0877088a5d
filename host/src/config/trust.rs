//! `[plugins]`: whose plugins are admitted.

use super::Sources;
use super::node::{Node, Tree};
use super::section::{Problems, Section, flag, text};
use crate::admission::{Trust, TrustedKey};

pub(super) fn read(plugins: &mut Section<'_>, sources: &Sources, problems: &mut Problems) -> Trust {
    let before = problems.0.len();
    let path = plugins.child("trusted_keys");
    let keys = plugins.node("trusted_keys").map(|node| keys(node, &path, problems));
    let keys = keys.unwrap_or_default();
    let keys_are_good = problems.0.len() == before;
    let required = plugins.node("require_signature");
    let require_signature = plugins.value("require_signature", problems, flag).unwrap_or(false);
    if let Some(node) = required
        && require_signature
        && keys.is_empty()
        && keys_are_good
    {
        let text = "no key is trusted, so no plugin could be admitted; set plugins.trusted_keys";
        problems.add(&node.at, &plugins.child("require_signature"), text);
    }
    let allowed = plugins.value("allow_unsafe_permissions", problems, flag).unwrap_or(false);
    let allow_unsafe_permissions = allowed || sources.allow_unsafe_permissions;
    Trust { keys, require_signature, allow_unsafe_permissions }
}

/// Each wrong key is named with its own place.
fn keys(node: &Node, path: &str, problems: &mut Problems) -> Vec<TrustedKey> {
    let Tree::Array(items) = &node.tree else {
        let found = node.type_name();
        problems.add(&node.at, path, format!("expected an array of strings, found {found}"));
        return Vec::new();
    };
    let mut keys = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let parsed = text(item).and_then(|text| {
            // Not repeated in the message: it may be a secret key, pasted by mistake.
            let wrong = "is no minisign public key; write the second line of the .pub file, which begins with RW";
            TrustedKey::parse(&text).ok_or_else(|| wrong.to_owned())
        });
        match parsed {
            Ok(key) => keys.push(key),
            Err(message) => problems.add(&item.at, &format!("{path}[{index}]"), message),
        }
    }
    keys
}
