//! The plugin's side: turns a [`Collector`] or an [`EventSource`] into the exported functions.

use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use serde::de::DeserializeOwned;

use super::{
    AbiColumn, AbiColumnView, AbiDescription, AbiFailure, AbiHost, AbiInstance, AbiSink, AbiStream,
    HostLink, Link, PluginModule, PluginModuleRef,
};
use crate::clock::Machine;
use crate::collector::{Batch, Collector, Emitter, EventSource, Outlet, Streams};
use crate::column::{Column, Values};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

/// What both kinds of plugin have in common.
trait Exported: Sized {
    type Settings: DeserializeOwned;
    type Streams: Streams;
    const INTERVAL: Duration;
    fn create(settings: Self::Settings, host: Host) -> Result<Self>;
    fn collect(&mut self, batch: &mut Batch) -> Result<()>;
    fn run(&mut self, batch: &mut Batch, sink: &AbiSink) -> Result<()>;
}

/// Exports a [`Collector`].
struct Polled<C>(C);

impl<C: Collector> Exported for Polled<C> {
    type Settings = C::Settings;
    type Streams = C::Streams;
    const INTERVAL: Duration = C::INTERVAL;

    fn create(settings: C::Settings, host: Host) -> Result<Self> {
        C::create(settings, host).map(Self)
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.0.collect(batch)
    }

    fn run(&mut self, _: &mut Batch, _: &AbiSink) -> Result<()> {
        Err(Error::msg("this plugin is polled; it can't be run as an event source"))
    }
}

/// Exports an [`EventSource`].
struct Events<E>(E);

impl<E: EventSource> Exported for Events<E> {
    type Settings = E::Settings;
    type Streams = E::Streams;
    const INTERVAL: Duration = Duration::ZERO; // events are not polled

    fn create(settings: E::Settings, host: Host) -> Result<Self> {
        E::create(settings, host).map(Self)
    }

    fn collect(&mut self, _: &mut Batch) -> Result<()> {
        Err(Error::msg("this plugin is an event source; it can't be polled"))
    }

    fn run(&mut self, batch: &mut Batch, sink: &AbiSink) -> Result<()> {
        let mut emitter = Emitter { batch, outlet: &Link(sink) };
        let ended = self.0.run(&mut emitter);
        let flushed = emitter.flush(); // what was gathered happened, however it ended
        ended.and(flushed)
    }
}

struct Instance<X> {
    exported: X,
    batch: Batch,
}

struct Glue<X>(PhantomData<X>);

/// The module of a [`Collector`], for the macro.
#[doc(hidden)]
pub fn polled_module<C: Collector>() -> PluginModuleRef {
    module_of::<Polled<C>>()
}

/// The module of an [`EventSource`], for the macro.
#[doc(hidden)]
pub fn events_module<E: EventSource>() -> PluginModuleRef {
    module_of::<Events<E>>()
}

fn module_of<X: Exported>() -> PluginModuleRef {
    PluginModule {
        describe: Glue::<X>::describe,
        check_settings: Glue::<X>::check_settings,
        create: Glue::<X>::create,
        collect: Glue::<X>::collect,
        run: Glue::<X>::run,
        destroy: Glue::<X>::destroy,
        #[cfg(feature = "next-api")]
        later: Glue::<X>::later,
    }
    .leak_into_prefix()
}

impl<X: Exported> Glue<X> {
    extern "C" fn describe() -> RResult<AbiDescription, AbiFailure> {
        match guarded(|| Ok(X::Streams::schemas())) {
            Ok(schemas) => RResult::ROk(AbiDescription {
                streams: schemas.into_iter().map(AbiStream::from).collect(),
                interval_ms: u64::try_from(X::INTERVAL.as_millis()).unwrap_or(u64::MAX),
            }),
            Err(failure) => RResult::RErr(failure),
        }
    }

    extern "C" fn check_settings(json: RStr<'_>) -> AbiFailure {
        match guarded(|| Ok(parse_settings::<X::Settings>(json.as_str()).map(drop))) {
            Ok(Ok(())) => AbiFailure::none(),
            Ok(Err(error)) => error.into_failure(AbiFailure::SETTINGS),
            Err(failure) => failure,
        }
    }

    extern "C" fn create(json: RStr<'_>, host: AbiHost) -> RResult<AbiInstance, AbiFailure> {
        let host = Host { link: HostLink::new(host), clock: Arc::new(Machine::new()) };
        let settings = match guarded(|| Ok(parse_settings::<X::Settings>(json.as_str()))) {
            Ok(Ok(settings)) => settings,
            Ok(Err(error)) => return RResult::RErr(error.into_failure(AbiFailure::SETTINGS)),
            Err(failure) => return RResult::RErr(failure),
        };
        let made = guarded(|| {
            let exported = X::create(settings, host)?;
            Ok(Box::new(Instance { exported, batch: Batch::new(X::Streams::schemas()) }))
        });
        match made {
            Ok(instance) => RResult::ROk(AbiInstance(Box::into_raw(instance).cast::<c_void>())),
            Err(failure) => RResult::RErr(failure),
        }
    }

    extern "C" fn collect(instance: AbiInstance, wanted: u64, sink: &AbiSink) -> AbiFailure {
        // SAFETY: the host passes what `create` of this same plugin returned, on the one thread
        // that uses it, and not after `destroy`.
        let instance = unsafe { &mut *instance.0.cast::<Instance<X>>() };
        outcome(|| {
            instance.batch.begin(wanted);
            instance.exported.collect(&mut instance.batch)?;
            Link(sink).send(&mut instance.batch)?;
            Ok(std::mem::take(&mut instance.batch.partial))
        })
    }

    extern "C" fn run(instance: AbiInstance, sink: &AbiSink) -> AbiFailure {
        // SAFETY: as in `collect`.
        let instance = unsafe { &mut *instance.0.cast::<Instance<X>>() };
        outcome(|| {
            instance.batch.begin(u64::MAX);
            instance.exported.run(&mut instance.batch, sink)?;
            Ok(Vec::new())
        })
    }

    extern "C" fn destroy(instance: AbiInstance) -> AbiFailure {
        outcome(|| {
            // SAFETY: the host passes what `create` returned, once.
            drop(unsafe { Box::from_raw(instance.0.cast::<Instance<X>>()) });
            Ok(Vec::new())
        })
    }

    #[cfg(feature = "next-api")]
    extern "C" fn later() -> u64 {
        11
    }
}

/// Runs an author's function; a panic becomes a failure.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T, AbiFailure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.into_failure(AbiFailure::FAILED)),
        Err(payload) => Err(AbiFailure::new(AbiFailure::PANICKED, &panic_text(payload))),
    }
}

fn outcome(call: impl FnOnce() -> Result<Vec<String>>) -> AbiFailure {
    match guarded(call) {
        Ok(partial) => AbiFailure {
            partial: partial.into_iter().map(RString::from).collect(),
            ..AbiFailure::none()
        },
        Err(failure) => failure,
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast_ref::<&'static str>() {
            Some(text) => (*text).to_owned(),
            None => {
                // The drop of a payload is the author's code too, and may panic in turn.
                std::mem::forget(payload);
                "a panic without a message".to_owned()
            }
        },
    }
}

/// Settings from JSON: a key that no field takes is an error, and so is a wrong type; both name
/// the key.
pub(crate) fn parse_settings<S: DeserializeOwned>(json: &str) -> Result<S> {
    let mut unknown: Option<(String, String)> = None;
    let mut track = serde_path_to_error::Track::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let settings = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| (path_of(&path), last_key(&path)));
    });
    match (settings, unknown) {
        (Ok(settings), None) => Ok(settings),
        (Ok(_), Some((path, key))) => {
            Err(Error::setting(path, format_args!("unknown key `{key}`")))
        }
        (Err(error), _) => {
            let path = track.path().to_string();
            let text = error.to_string();
            let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
            Err(Error::setting(if path == "." { "" } else { path.as_str() }, text))
        }
    }
}

/// As serde_path_to_error writes it: `rules[2].name`.
fn path_of(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_of(parent)),
        Path::Map { parent, key } => match path_of(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => path_of(parent),
    }
}

fn last_key(path: &serde_ignored::Path<'_>) -> String {
    match path {
        serde_ignored::Path::Map { key, .. } => key.clone(),
        other => path_of(other),
    }
}

impl Error {
    fn into_failure(self, kind: u8) -> AbiFailure {
        // An author's own settings error has a path, whatever function it came from.
        let kind = if self.path().is_empty() { kind } else { AbiFailure::SETTINGS };
        AbiFailure {
            kind,
            message: self.message().into(),
            path: self.path().into(),
            partial: RVec::new(),
        }
    }
}

pub(super) fn view(column: &Column) -> AbiColumnView<'_> {
    let empty = AbiColumnView {
        u64s: RSlice::EMPTY,
        i64s: RSlice::EMPTY,
        f64s: RSlice::EMPTY,
        bytes: RSlice::EMPTY,
        ends: RSlice::EMPTY,
        validity: RSlice::from_slice(&column.validity),
    };
    match &column.values {
        Values::U64(values) => AbiColumnView { u64s: RSlice::from_slice(values), ..empty },
        Values::I64(values) => AbiColumnView { i64s: RSlice::from_slice(values), ..empty },
        Values::F64(values) => AbiColumnView { f64s: RSlice::from_slice(values), ..empty },
        Values::Bool(values) => AbiColumnView { bytes: RSlice::from_slice(values), ..empty },
        Values::Text { ends, bytes } => AbiColumnView {
            ends: RSlice::from_slice(ends),
            bytes: RSlice::from_slice(bytes),
            ..empty
        },
    }
}

impl From<StreamSchema> for AbiStream {
    fn from(schema: StreamSchema) -> Self {
        Self {
            name: schema.name.into(),
            kind: match schema.kind {
                StreamKind::Snapshot => 0,
                StreamKind::Event => 1,
            },
            description: schema.description.into(),
            columns: schema.columns.into_iter().map(AbiColumn::from).collect(),
        }
    }
}

impl From<ColumnSchema> for AbiColumn {
    fn from(column: ColumnSchema) -> Self {
        let share = column.share.map(|share| [share.name, share.of, share.otel]);
        Self {
            name: column.name.into(),
            role: match column.role {
                Role::Key => 0,
                Role::Counter => 1,
                Role::Gauge => 2,
                Role::Attribute => 3,
            },
            value: match column.value {
                ValueType::U64 => 0,
                ValueType::I64 => 1,
                ValueType::F64 => 2,
                ValueType::Bool => 3,
                ValueType::Text => 4,
                ValueType::TextList => 5,
            },
            unit: column.unit.into(),
            description: column.description.into(),
            otel: column.otel.into(),
            attributes: column
                .attributes
                .into_iter()
                .flat_map(|(name, value)| [RString::from(name), RString::from(value)])
                .collect(),
            share: share.into_iter().flatten().map(RString::from).collect(),
        }
    }
}

/// Exports the plugin. Use it once in a crate with `crate-type = ["cdylib"]`:
///
/// ```text
/// export_plugin!(collector = MyCollector);
/// export_plugin!(collector = MyCollector, name = "mine");
/// export_plugin!(events = MyEventSource, name = "mine", capabilities = [Netlink]);
/// ```
///
/// Without `name`, the plugin is called as its package. The version is the package's.
/// `capabilities` lists what it does beyond reading files ([`Capability`](crate::abi::Capability)); in a
/// runner process it may do no more, and only what the user's `allow` has too.
#[macro_export]
macro_rules! export_plugin {
    (collector = $type:ty $(, name = $name:expr)?
     $(, capabilities = [$($capability:ident),* $(,)?])? $(,)?) => {
        $crate::export_plugin!(
            @export Polled, polled_module, $type, [$($name)?], [$($($capability)*)?]
        );
    };
    (events = $type:ty $(, name = $name:expr)?
     $(, capabilities = [$($capability:ident),* $(,)?])? $(,)?) => {
        $crate::export_plugin!(
            @export Events, events_module, $type, [$($name)?], [$($($capability)*)?]
        );
    };
    (@name) => { env!("CARGO_PKG_NAME") };
    (@name $name:expr) => { $name };
    (@export $kind:ident, $module:ident, $type:ty, [$($name:expr)?], [$($capability:ident)*]) => {
        const _: () = {
            /// Read by the host without running the plugin.
            #[used]
            #[unsafe(no_mangle)]
            #[unsafe(link_section = ".dropsonde")]
            pub static dropsonde_plugin_manifest: $crate::abi::RawManifest =
                $crate::abi::RawManifest::new(
                    $crate::export_plugin!(@name $($name)?),
                    env!("CARGO_PKG_VERSION"),
                    env!("CARGO_PKG_DESCRIPTION"),
                    $crate::abi::Kind::$kind,
                    cfg!(panic = "abort"),
                    &[$($crate::abi::Capability::$capability),*],
                );

            extern "C" fn load() -> $crate::abi::abi_stable::library::RootModuleResult {
                $crate::abi::abi_stable::library::__call_root_module_loader(|| {
                    $crate::abi::$module::<$type>()
                })
            }

            /// Where the host enters.
            #[unsafe(no_mangle)]
            pub static dropsonde_plugin_module: $crate::abi::abi_stable::library::LibHeader =
                // SAFETY: `load` returns a `PluginModuleRef`, which is what the type says.
                unsafe {
                    $crate::abi::abi_stable::library::LibHeader::from_constructor::<
                        $crate::abi::PluginModuleRef,
                    >(load, $crate::abi::abi_stable::library::CheckTypeLayout::Yes)
                };
        };
    };
}

#[cfg(test)]
mod tests;
