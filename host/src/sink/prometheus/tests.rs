use super::naming::sanitize;
use super::*;
use crate::model::StreamInfo;
use dropsonde_plugin_api::schema::{ColumnSchema, Role};

fn named(stream: &str, name: &str, role: Role, unit: &str, otel: &str) -> Option<String> {
    use dropsonde_plugin_api::schema::{StreamKind, StreamSchema, ValueType};
    let column = ColumnSchema {
        name: name.into(),
        role,
        value: ValueType::U64,
        unit: unit.into(),
        description: String::new(),
        otel: otel.into(),
        attributes: Vec::new(),
        share: None,
    };
    let plugin: Arc<str> = "network".into();
    let schema = StreamSchema {
        name: stream.into(),
        kind: StreamKind::Snapshot,
        description: String::new(),
        columns: vec![column.clone()],
    };
    let info = StreamInfo::new(&plugin, &plugin, schema);
    naming(&info, 0, &column).map(|naming| naming.name)
}

#[test]
fn names_follow_the_conventions() {
    let cases = [
        (Role::Counter, "bytes_recv", "By", "system.network.io", "system_network_io_bytes_total"),
        (Role::Counter, "errin", "{error}", "system.network.errors", "system_network_errors_total"),
        (Role::Counter, "user", "s", "system.cpu.time", "system_cpu_time_seconds_total"),
        (Role::Gauge, "used_bytes", "By", "", "dropsonde_network_used_bytes"),
        (Role::Counter, "bytes_sent", "By", "", "dropsonde_network_bytes_sent_total"),
        (Role::Gauge, "percent", "%", "", "dropsonde_network_percent"),
        (Role::Gauge, "user", "%", "system.cpu.utilization", "system_cpu_utilization_ratio"),
        (Role::Gauge, "interval_ms", "ms", "", "dropsonde_network_interval_seconds"),
        (Role::Gauge, "speed_mhz", "MHz", "", "dropsonde_network_speed_hertz"),
        (Role::Counter, "pgpgin", "KiBy", "", "dropsonde_network_pgpgin_bytes_total"),
        (Role::Gauge, "lane_1", "1", "", "dropsonde_network_lane_1_ratio"),
        (Role::Gauge, "n", "{process}", "system.processes.count", "system_processes"),
        (Role::Gauge, "n", "{cpu}", "system.cpu.logical.count", "system_cpu_logical_cpus"),
        (Role::Gauge, "core_count", "{core}", "", "dropsonde_network_cores"),
        (Role::Gauge, "entry_sum", "{entry}", "", "dropsonde_network_entries"),
        (Role::Gauge, "bus_count", "V", "", "dropsonde_network_bus"),
    ];
    for (role, column, unit, otel, expected) in cases {
        assert_eq!(named("", column, role, unit, otel).as_deref(), Some(expected));
    }
    assert_eq!(named("", "reason", Role::Attribute, "", ""), None);
}

#[test]
fn names_and_labels_are_what_prometheus_takes() {
    assert_eq!(sanitize("9lives.left"), "_9lives_left");
    assert_eq!(sanitize("__name__"), "name__");
    assert_eq!(sanitize("..name"), "name");
    assert_eq!(sanitize(".."), "_");
    assert_eq!(label_set([("a", "1"), ("a", "2")]), "{a=\"1\",exported_a=\"2\"}");
    assert_eq!(label_set([("b", "1"), ("a", "2"), ("c", "")]), "{a=\"2\",b=\"1\"}");
    let mut page = Page::default();
    page.add("a", "gauge", "A.", "{b=\"c\"}", 1.0);
    page.add("a", "gauge", "A.", "{b=\"c\"}", 2.0);
    assert_eq!(page.left_out[""].duplicates, 1);
    assert_eq!(page.render(), "# HELP a A.\n# TYPE a gauge\na{b=\"c\"} 1\n");
}

#[test]
fn keys_and_attributes_with_a_conventional_name_are_labels() {
    use std::time::Duration;

    use dropsonde_plugin_api::schema::{StreamKind, StreamSchema, ValueType};

    use crate::model::{ColumnData, Data, Read};

    let column = |name: &str, role, value, otel: &str| ColumnSchema {
        name: name.into(),
        role,
        value,
        unit: "By".into(),
        description: "A column.".into(),
        otel: otel.into(),
        attributes: Vec::new(),
        share: None,
    };
    let schema = StreamSchema {
        name: "processes".into(),
        kind: StreamKind::Snapshot,
        description: String::new(),
        columns: vec![
            column("pid", Role::Key, ValueType::U64, "process.pid"),
            column("started", Role::Key, ValueType::U64, ""),
            column("name", Role::Attribute, ValueType::Text, "process.executable.name"),
            column("state", Role::Attribute, ValueType::Text, ""),
            column("bytes", Role::Gauge, ValueType::U64, "process.memory.usage"),
        ],
    };
    let numbers = |values| ColumnData { data: Data::U64(values), validity: Vec::new() };
    let texts = |text: &str, end, validity| ColumnData {
        data: Data::Text { ends: vec![end, end], bytes: text.into() },
        validity,
    };
    let columns = vec![
        numbers(vec![7, 8]),
        numbers(vec![1, 2]),
        texts("sh", 2, vec![1, 0]),
        texts("idle", 4, Vec::new()),
        numbers(vec![64, 65]),
    ];
    let name: Arc<str> = "process".into();
    let info = Arc::new(StreamInfo::new(&name, &name, schema));
    let (wall, now) = (std::time::UNIX_EPOCH, Duration::ZERO);
    let read = Read { generation: 1, sequence: 1, wall, monotonic: now, due: now };
    let mut page = Page::default();
    page.batch(&Batch::new(info, read, 2, columns));
    assert_eq!(
        page.render(),
        "# HELP process_memory_usage_bytes process.memory.usage (bytes).\n\
         # TYPE process_memory_usage_bytes gauge\n\
         process_memory_usage_bytes{process_executable_name=\"sh\",process_pid=\"7\",started=\"1\"} 64\n\
         process_memory_usage_bytes{process_pid=\"8\",started=\"2\"} 65\n"
    );
}

#[test]
fn label_values_are_escaped() {
    assert_eq!(label_set([("a", "x\"y\\z\nw")]), "{a=\"x\\\"y\\\\z\\nw\"}");
}
