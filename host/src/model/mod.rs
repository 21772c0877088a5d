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
pub use histogram::Histogram;
pub(crate) use rates::Rates;
pub use stream::{Derived, StreamInfo};
pub use validate::{BatchError, SchemaError};
pub(crate) use validate::{MAX_BATCH, MAX_ROWS, check, check_schemas, shown};
