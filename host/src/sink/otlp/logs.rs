//! Records as OTLP log records: what happened, each once. The body is the record as a map, its
//! keys are attributes, the name of its stream is the name of the event.

use axum::body::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::metrics::nanoseconds;
use super::{Request, plan, wire};
use crate::clock;
use crate::model::{Batch, Value};

/// Most records of a request.
const RECORDS: usize = 2048;
/// A request is ended when it has become so large.
const LARGE: usize = 1 << 20;

/// Makes requests of batches.
pub(crate) struct Encoder {
    resource: Resource,
    scopes: Vec<ScopeLogs>,
    records: usize,
    bytes: usize,
    finished: Vec<Request>,
}

impl Encoder {
    pub(crate) fn new(resource: Resource) -> Self {
        Self { resource, scopes: Vec::new(), records: 0, bytes: 0, finished: Vec::new() }
    }

    /// Adds the records of a batch. `version` is the plugin's.
    pub(crate) fn add(&mut self, batch: &Batch, version: impl Fn(&str) -> String) {
        let plugin = &batch.stream.plugin;
        let attributes = plan::attributes(&batch.stream);
        let mut first = true;
        for row in 0..batch.rows() {
            let record = record(batch, row, &attributes);
            let name = format!("dropsonde/{plugin}");
            let last = self.scopes.last().and_then(|scope| scope.scope.as_ref());
            if first && last.is_none_or(|scope| scope.name != name) || self.scopes.is_empty() {
                let version = version(plugin);
                let scope = Some(InstrumentationScope { name, version, ..Default::default() });
                self.scopes.push(ScopeLogs { scope, ..ScopeLogs::default() });
            }
            first = false;
            self.bytes += record.encoded_len();
            self.records += 1;
            if let Some(scope) = self.scopes.last_mut() {
                scope.log_records.push(record);
            }
            if self.records >= RECORDS || self.bytes >= LARGE {
                self.end_request();
            }
        }
    }

    fn end_request(&mut self) {
        if self.records == 0 {
            return;
        }
        let scope_logs = std::mem::take(&mut self.scopes);
        let resource = Some(self.resource.clone());
        let logs = ResourceLogs { resource, scope_logs, ..ResourceLogs::default() };
        let message = ExportLogsServiceRequest { resource_logs: vec![logs] };
        let body = Bytes::from(message.encode_to_vec());
        self.bytes = 0;
        let items = std::mem::take(&mut self.records) as u64;
        self.finished.push(Request { body, items });
    }

    /// The requests that are made of what was added.
    pub(crate) fn finish(&mut self) -> Vec<Request> {
        self.end_request();
        std::mem::take(&mut self.finished)
    }
}

fn record(batch: &Batch, row: usize, attributes: &[(usize, String)]) -> LogRecord {
    let info = &batch.stream;
    let columns = info.schema.columns.iter().enumerate();
    let value = |(index, name): (usize, &str)| wire::key_value(name, batch.value(row, index));
    let body: Vec<KeyValue> =
        columns.filter_map(|(index, column)| value((index, &column.name))).collect();
    let mut attributes: Vec<KeyValue> =
        attributes.iter().filter_map(|(index, name)| value((*index, name))).collect();
    if info.collector != info.plugin {
        attributes.extend(wire::key_value("collector", Value::Text(&info.collector)));
    }
    LogRecord {
        time_unix_nano: nanoseconds(batch.wall),
        observed_time_unix_nano: nanoseconds(clock::wall()),
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        body: Some(AnyValue { value: Some(Any::KvlistValue(KeyValueList { values: body })) }),
        attributes,
        event_name: info.name.clone(),
        ..LogRecord::default()
    }
}
