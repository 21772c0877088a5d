//! The macros of `dropsonde-plugin-api`; see there.

mod record;
mod settings;

use proc_macro::TokenStream;

/// Declares a stream: one struct is one record.
///
/// * `#[record(stream = "interfaces")]` on the struct names the stream below the collector's;
///   without it the struct is the collector's main stream. `kind = "event"` makes an event
///   stream.
/// * Each field has one role: `#[key]`, `#[counter(unit = "By")]`, `#[gauge(unit = "s")]` or
///   `#[attribute]`. Units are UCUM: `By`, `s`, `%`, `1`, `{packet}`.
/// * `otel = "system.network.io"` gives the metric's name by the OpenTelemetry semantic
///   conventions (for a key: the attribute's name), `attributes(direction = "receive")` its
///   fixed attributes.
/// * `share(name = "user_percent", of = "total_seconds")` on a counter asks the host for the
///   percentage that this counter's growth is of the other's.
/// * Doc comments become descriptions and are required.
#[proc_macro_derive(Record, attributes(record, key, counter, gauge, attribute))]
pub fn derive_record(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    record::expand(&input).into()
}

/// Marks a struct as the settings of a plugin: the host fills it from
/// `[collectors.NAME.settings]`. Give fields defaults with serde's `#[serde(default)]`; a key
/// that no field takes is an error that names the user's line.
#[proc_macro_attribute]
pub fn settings(arguments: TokenStream, input: TokenStream) -> TokenStream {
    settings::expand(arguments.into(), input.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
