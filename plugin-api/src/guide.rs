//! How to write a plugin, in nine chapters.

#[doc = include_str!("../docs/01-concepts.md")]
pub mod concepts {}
#[doc = include_str!("../docs/02-first-plugin.md")]
pub mod first_plugin {}
#[doc = include_str!("../docs/03-settings.md")]
pub mod settings {}
#[doc = include_str!("../docs/04-events.md")]
pub mod events {}
// Its examples compile with the feature alone.
#[cfg_attr(any(feature = "testing", not(doctest)), doc = include_str!("../docs/05-testing.md"))]
pub mod testing {}
#[doc = include_str!("../docs/06-publishing.md")]
pub mod publishing {}
#[doc = include_str!("../docs/07-debugging.md")]
pub mod debugging {}
#[doc = include_str!("../docs/08-sandbox.md")]
pub mod sandbox {}
#[doc = include_str!("../docs/09-versioning.md")]
pub mod versioning {}
