//! The receiver, and what it got.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use dropsonde_tests::{Python, skipped, wait_for, workspace};
use serde_json::{Map, Value};

/// A Python with the project's stubs, which are fetched once if they are not there yet.
fn python() -> &'static Result<Python, String> {
    static STUBS: OnceLock<Result<Python, String>> = OnceLock::new();
    let import = "grpc, opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc";
    STUBS.get_or_init(|| Python::with("otlp", &["opentelemetry-proto", "grpcio"], import))
}

/// A receiver. Ended with the test.
pub(super) struct Receiver {
    pub(super) protocol: String,
    pub(super) port: u64,
    child: Child,
    orders: ChildStdin,
    /// All that it said, over all its lives.
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    /// Whether it can be had; says so loudly if not.
    pub(super) fn is_there() -> bool {
        match python() {
            Ok(_) => true,
            Err(why) => {
                skipped(format!("no OTLP receiver: {why}"));
                false
            }
        }
    }

    /// `protocol` is `grpc` or `http`.
    pub(super) fn start(protocol: &str) -> Self {
        let lines = Arc::default();
        let (child, orders) = run(protocol, 0, &lines);
        let port = wait_for("its port", || lines.lock().unwrap().first()?["port"].as_u64());
        Self { protocol: protocol.to_owned(), port, child, orders, lines }
    }

    /// It goes away: connections to it are refused.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It is back at the same port.
    pub(super) fn start_again(&mut self) {
        (self.child, self.orders) = run(&self.protocol, self.port, &self.lines);
    }

    /// Has it answer so from now on.
    pub(super) fn answer(&mut self, how: &str) {
        let is_heard = |line: &Value| line["answers"] == how;
        let heard = |lines: &[Value]| lines.iter().filter(|line| is_heard(line)).count();
        let before = heard(&self.lines.lock().unwrap());
        writeln!(self.orders, "{how}").unwrap();
        wait_for("its answer to change", || {
            (heard(&self.lines.lock().unwrap()) > before).then_some(())
        });
    }

    /// Every request, as it was answered.
    pub(super) fn requests(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line["signal"].is_string()).cloned().collect()
    }

    /// All requests that it took, as text.
    pub(super) fn text(&self) -> String {
        self.requests().iter().map(|request| request["request"].to_string()).collect()
    }

    fn scopes(&self, resources: &str, scopes: &str) -> Vec<Value> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let requests = self.requests();
        let resources = requests.iter().flat_map(|line| list(&line["request"][resources]));
        resources.flat_map(|resource| list(&resource[scopes])).collect()
    }

    /// The metrics of this name, in the order in which they came.
    pub(super) fn metrics(&self, name: &str) -> Vec<Metric> {
        let scopes = self.scopes("resourceMetrics", "scopeMetrics");
        let of_scope = |scope: &Value| -> Vec<Metric> {
            let metrics = scope["metrics"].as_array().unwrap();
            let named = metrics.iter().filter(|metric| metric["name"] == name);
            named.map(|metric| Metric::new(&scope["scope"], metric)).collect()
        };
        scopes.iter().flat_map(of_scope).collect()
    }

    /// The log records, in the order in which they came.
    pub(super) fn log_records(&self) -> Vec<Value> {
        let scopes = self.scopes("resourceLogs", "scopeLogs");
        let records = |scope: &Value| scope["logRecords"].as_array().unwrap().clone();
        scopes.iter().flat_map(records).collect()
    }

    /// Attributes of the resource of the first request.
    pub(super) fn resource(&self) -> Map<String, Value> {
        let request = self.requests().swap_remove(0);
        let attributes = &request["request"]["resourceMetrics"][0]["resource"]["attributes"];
        let pair = |pair: &Value| {
            let name = pair["key"].as_str().unwrap().to_owned();
            (name, pair["value"]["stringValue"].clone())
        };
        attributes.as_array().unwrap().iter().map(pair).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(protocol: &str, port: u64, lines: &Arc<Mutex<Vec<Value>>>) -> (Child, ChildStdin) {
    let python = python().as_ref().unwrap();
    let mut child = python
        .command()
        .arg(workspace().join("tests/e2e/otlp_receiver.py"))
        .args([protocol, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (orders, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        }
    });
    (child, orders)
}

/// A metric as it came.
pub(super) struct Metric {
    /// Name and version.
    pub(super) scope: String,
    pub(super) unit: String,
    pub(super) description: String,
    pub(super) points: Vec<Point>,
    metric: Value,
}

impl Metric {
    fn new(scope: &Value, metric: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let data = if metric["sum"].is_object() { &metric["sum"] } else { &metric["gauge"] };
        let points = data["dataPoints"].as_array().unwrap().iter().cloned().map(Point).collect();
        Self {
            scope: format!("{} {}", text(&scope["name"]), text(&scope["version"])),
            unit: text(&metric["unit"]),
            description: text(&metric["description"]),
            points,
            metric: metric.clone(),
        }
    }

    pub(super) fn is_gauge(&self) -> bool {
        self.metric["gauge"].is_object()
    }

    pub(super) fn is_cumulative_and_monotonic(&self) -> bool {
        let sum = &self.metric["sum"];
        sum["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
            && sum["isMonotonic"] == true
    }
}

/// A data point.
pub(super) struct Point(Value);

impl Point {
    /// `name=value`, in order of name.
    pub(super) fn attributes(&self) -> Vec<String> {
        let pair = |pair: &Value| {
            let value = pair["value"].as_object().unwrap().values().next().unwrap();
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{}={value}", pair["key"].as_str().unwrap())
        };
        let attributes = self.0["attributes"].as_array();
        let mut attributes: Vec<_> = attributes.into_iter().flatten().map(pair).collect();
        attributes.sort();
        attributes
    }

    pub(super) fn is_integer(&self) -> bool {
        self.0["asInt"].is_string()
    }

    pub(super) fn number(&self) -> f64 {
        match self.0["asInt"].as_str() {
            Some(integer) => integer.parse().unwrap(),
            None => self.0["asDouble"].as_f64().unwrap(),
        }
    }

    /// In nanoseconds since 1970.
    pub(super) fn time(&self) -> u64 {
        self.0["timeUnixNano"].as_str().unwrap().parse().unwrap()
    }

    /// The same.
    pub(super) fn start(&self) -> u64 {
        self.0["startTimeUnixNano"].as_str().unwrap().parse().unwrap()
    }
}
