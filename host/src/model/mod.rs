//! The one data type through the whole house: batches of typed columns with a schema.

mod batch;
mod histogram;
mod rates;
mod stream;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use batch::Read;
pub use batch::{Batch, ColumnData, Data, RawBatch, Value};
pub(crate) use dropsonde_plugin_api::schema::check as check_schemas;
pub use dropsonde_plugin_api::schema::{Derived, SchemaError};
pub use histogram::Histogram;
pub(crate) use rates::Rates;
pub use stream::StreamInfo;
pub use validate::BatchError;
pub(crate) use validate::{MAX_BATCH, MAX_ROWS, check, shown};
