//! The two things that a plugin can be: polled, or a source of events.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::column::Column;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::record::Record;
use crate::schema::StreamSchema;

/// A collector that the host polls. It knows nothing of time: the host calls it when it is due.
///
/// The host creates, calls and drops an instance on one thread of its own, which runs nothing
/// else: it may block, up to the deadline that the user has set (`deadline`, 10 s by default).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Collector",
    label = "not a Collector",
    note = "write `impl Collector for {Self}`, or `export_plugin!(events = {Self}, …)` if it is an EventSource"
)]
pub trait Collector: Sized {
    /// What the user may set in TOML under `[collectors.NAME.settings]`. Mark the struct with
    /// [`#[settings]`](crate::settings); use [`NoSettings`] if there is nothing to set.
    type Settings: Settings;
    /// The record types that [`collect`](Self::collect) pushes, as a tuple: `(Totals, Interface)`.
    type Streams: Streams;

    /// How often it is collected unless the user says otherwise.
    const INTERVAL: Duration = Duration::from_secs(1);

    /// Makes an instance. An error is shown to the user, and the host tries again later.
    fn create(settings: Self::Settings, host: Host) -> Result<Self>;

    /// Reads once and pushes what it found. What could not be read of many things is reported
    /// with [`Batch::partial`]; an error means that there is nothing to show at all.
    fn collect(&mut self, out: &mut Batch) -> Result<()>;
}

/// A collector that watches something and emits records when they happen.
///
/// The host calls everything on one thread of its own, which runs nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an EventSource",
    label = "not an EventSource",
    note = "write `impl EventSource for {Self}`, or `export_plugin!(collector = {Self}, …)` if it is a Collector"
)]
pub trait EventSource: Sized {
    /// As [`Collector::Settings`].
    type Settings: Settings;
    /// As [`Collector::Streams`].
    type Streams: Streams;

    /// As [`Collector::create`].
    fn create(settings: Self::Settings, host: Host) -> Result<Self>;

    /// Emits records until [`Emitter::stopped`] says so, then returns. A source that does not
    /// return within the deadline after it was told to stop is abandoned or killed.
    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()>;
}

/// What the host can fill from the user's TOML. [`#[settings]`](crate::settings) implements it;
/// a type that is deserialized in a way of its own says so with `impl Settings for …`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be filled from the user's settings",
    label = "not settings",
    note = "put #[settings] on `{Self}`, or use NoSettings if there is nothing to set"
)]
pub trait Settings: DeserializeOwned {}

impl Settings for NoSettings {}

/// Settings of a plugin that has none.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// The record types of a plugin, as a tuple of one to twelve.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of records",
    label = "not a tuple of records",
    note = "write `type Streams = (A, B);`, with a comma even for one: `(A,)`; each must #[derive(Record)]"
)]
pub trait Streams {
    /// The schemas, in the order of the tuple.
    fn schemas() -> Vec<StreamSchema>;
}

macro_rules! streams {
    ($($record:ident)*) => {
        impl<$($record: Record),*> Streams for ($($record,)*) {
            fn schemas() -> Vec<StreamSchema> {
                vec![$($record::schema()),*]
            }
        }
    };
}
streams!(A);
streams!(A B);
streams!(A B C);
streams!(A B C D);
streams!(A B C D E);
streams!(A B C D E F);
streams!(A B C D E F G);
streams!(A B C D E F G H);
streams!(A B C D E F G H I);
streams!(A B C D E F G H I J);
streams!(A B C D E F G H I J K);
streams!(A B C D E F G H I J K L);

/// Takes the records of one round.
#[derive(Debug)]
pub struct Batch {
    pub(crate) streams: Vec<StreamBuffer>,
    pub(crate) wanted: u64,
    pub(crate) partial: Vec<String>,
}

/// The rows of one stream that wait for the host.
#[derive(Debug)]
pub(crate) struct StreamBuffer {
    pub(crate) schema: StreamSchema,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: usize,
    /// Pushed or asked to be published though empty.
    pub(crate) touched: bool,
}

impl Batch {
    pub(crate) fn new(schemas: Vec<StreamSchema>) -> Self {
        let streams = schemas
            .into_iter()
            .map(|schema| StreamBuffer {
                columns: schema.columns.iter().map(|column| Column::new(column.value)).collect(),
                schema,
                rows: 0,
                touched: false,
            })
            .collect();
        Self { streams, wanted: u64::MAX, partial: Vec::new() }
    }

    pub(crate) fn begin(&mut self, wanted: u64) {
        self.wanted = wanted;
        self.partial.clear();
        self.streams.iter_mut().for_each(StreamBuffer::clear);
    }

    /// Adds a record to its stream. Fails only if the record's type does not stand in
    /// `Streams`.
    pub fn push<R: Record>(&mut self, record: R) -> Result<()> {
        let stream = self.stream_mut::<R>()?;
        record.append(&mut stream.columns);
        stream.rows += 1;
        stream.touched = true;
        Ok(())
    }

    /// Whether anyone wants this stream in this round. A stream that nobody wants need not be
    /// read: its records would be thrown away.
    pub fn wants<R: Record>(&self) -> bool {
        let position = self.streams.iter().position(|stream| stream.schema.name == R::STREAM);
        position.is_some_and(|index| self.wanted & (1 << index) != 0)
    }

    /// Publishes the stream even if no record is pushed: an empty list is news too.
    pub fn publish_empty<R: Record>(&mut self) -> Result<()> {
        self.stream_mut::<R>()?.touched = true;
        Ok(())
    }

    /// Reports something that could not be read while the rest could. The batch counts as
    /// partial, and the collector as degraded.
    pub fn partial(&mut self, what: impl std::fmt::Display) {
        self.partial.push(what.to_string());
    }

    fn stream_mut<R: Record>(&mut self) -> Result<&mut StreamBuffer> {
        self.streams.iter_mut().find(|stream| stream.schema.name == R::STREAM).ok_or_else(|| {
            Error::msg(format_args!(
                "the stream `{}` is not declared: add `{}` to `type Streams`",
                R::STREAM,
                std::any::type_name::<R>()
            ))
        })
    }
}

impl StreamBuffer {
    pub(crate) fn clear(&mut self) {
        self.columns.iter_mut().for_each(Column::clear);
        self.rows = 0;
        self.touched = false;
    }
}

/// Where an event source's records go, and who tells it to stop: the host, or a test.
pub(crate) trait Outlet {
    /// Hands over what is wanted of the streams that were touched, and forgets the rows.
    fn send(&self, batch: &mut Batch) -> Result<()>;

    /// Sleeps until `time` has passed or the source is told to stop; says whether it was.
    fn wait(&self, time: Duration) -> bool;
}

/// Sends an event source's records to the host.
pub struct Emitter<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) outlet: &'a dyn Outlet,
}

impl Emitter<'_> {
    /// Rows that are gathered before they are sent without being asked to.
    const FLUSH_ROWS: usize = 256;

    /// Adds a record. It is sent with the next [`flush`](Self::flush) or
    /// [`wait`](Self::wait), or when 256 have gathered.
    pub fn emit<R: Record>(&mut self, record: R) -> Result<()> {
        let stream = self.batch.stream_mut::<R>()?;
        record.append(&mut stream.columns);
        stream.rows += 1;
        stream.touched = true;
        if stream.rows >= Self::FLUSH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Sends what has gathered. Blocks while the host does not keep up.
    pub fn flush(&mut self) -> Result<()> {
        self.outlet.send(self.batch)
    }

    /// Whether the source has been told to stop.
    pub fn stopped(&self) -> bool {
        self.outlet.wait(Duration::ZERO)
    }

    /// Sends what has gathered, then sleeps until `time` has passed or the source is told to
    /// stop; says whether it was.
    pub fn wait(&mut self, time: Duration) -> Result<bool> {
        self.flush()?;
        Ok(self.outlet.wait(time))
    }
}
