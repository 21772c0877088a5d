//! Settings that do not stand in a configuration: those that a command is given.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::node::{MAX_DEPTH, Node, Origin, Tree};
use super::{CollectorSpec, ConfigError};

impl CollectorSpec {
    /// With the settings of this TOML; an error about one of them names its line in `source`.
    pub(crate) fn with_settings_toml(
        mut self,
        source: &Path,
        text: &str,
    ) -> Result<Self, ConfigError> {
        let source: Arc<Path> = source.into();
        let parsed = Node::parse(&source, text);
        let wrong = |(at, message)| ConfigError { at, path: String::new(), message };
        self.settings = Some(parsed.map_err(wrong)?);
        Ok(self)
    }

    /// With these settings.
    pub(crate) fn with_settings(mut self, settings: &Value) -> Self {
        self.settings = Some(node(settings, MAX_DEPTH));
        self
    }
}

/// What lies deeper than a configuration may is left out.
fn node(value: &Value, depth: usize) -> Node {
    let tree = match (value, depth.checked_sub(1)) {
        (Value::Array(items), Some(depth)) => {
            Tree::Array(items.iter().map(|item| node(item, depth)).collect())
        }
        (Value::Object(table), Some(depth)) => Tree::Table(
            table.iter().map(|(key, value)| (key.clone(), node(value, depth))).collect(),
        ),
        (Value::Array(_) | Value::Object(_), None) => Tree::Scalar(Value::Null),
        (scalar, _) => Tree::Scalar(scalar.clone()),
    };
    Node { key: Origin::Default, at: Origin::Default, tree }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, Sources};

    fn spec() -> CollectorSpec {
        let config = Config::from_layers(&Sources::default(), Vec::new()).unwrap();
        CollectorSpec::auto("disk", &config.defaults)
    }

    #[test]
    fn settings_given_as_toml_reach_the_plugin_and_keep_their_places() {
        let text = "exclude = [\"lo\"]\n[deep]\nnumber = 1\n";
        let spec = spec().with_settings_toml(Path::new("given.toml"), text).unwrap();
        let json: Value = serde_json::from_str(&spec.settings_json()).unwrap();
        assert_eq!(json, json!({"deep": {"number": 1}, "exclude": ["lo"]}));
        let error = spec.settings_error("deep.number", "is odd").to_string();
        assert_eq!(error, "given.toml:3:1: collectors.disk.settings.deep.number: is odd");
        assert!(spec.with_settings_toml(Path::new("given.toml"), "=").is_err());
    }

    #[test]
    fn settings_given_as_values_reach_the_plugin_as_they_are() {
        let given = json!({"nothing": null, "lists": [[null], {"a": 1.5}]});
        let json: Value =
            serde_json::from_str(&spec().with_settings(&given).settings_json()).unwrap();
        assert_eq!(json, given);
    }
}
