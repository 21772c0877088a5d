//! SQL over everything live, as people ask it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dropsonde_tests::{Agent, fixture, wait_for};
use serde_json::Value;

use crate::terminal::Terminal;

/// An agent with bundled collectors.
fn bundled(interval: &str, names: &[&str]) -> Agent {
    Agent::bundled(names, &format!("[defaults]\ninterval = \"{interval}\"\n"))
}

/// The rows of an answer.
#[track_caller]
fn rows(agent: &Agent, arguments: &[&str]) -> Vec<Value> {
    let told = agent.told(&[&["query", "--json"], arguments].concat());
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A number of the only row.
#[track_caller]
fn number(agent: &Agent, sql: &str) -> f64 {
    let rows = rows(agent, &[sql]);
    let row = rows.first().and_then(Value::as_object).unwrap();
    row.values().next().and_then(Value::as_f64).unwrap()
}

/// A command that is ended when dropped.
struct Going(Child);

impl Going {
    fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let mut command = agent.command(arguments);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_five_busiest_interfaces_come_in_order() {
    let agent = bundled("200ms", &["network"]);
    let sql = "select interface, bytes_recv_per_sec from network_interfaces \
               order by 2 desc limit 5";
    wait_for("rates", || {
        rows(&agent, &[sql]).iter().any(|row| row["bytes_recv_per_sec"].is_f64()).then_some(())
    });
    let interfaces = std::fs::read_dir("/sys/class/net").unwrap().count();
    let found = rows(&agent, &[sql]);
    assert_eq!(found.len(), interfaces.min(5), "{found:?}");
    let rates: Vec<f64> =
        found.iter().map(|row| row["bytes_recv_per_sec"].as_f64().unwrap_or(-1.0)).collect();
    assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");
    let table = agent.told(&["query", sql]);
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["INTERFACE", "BYTES_RECV_PER_SEC"]);
    assert_eq!(table.lines().count(), found.len() + 1, "{table}");
}

#[test]
fn collectors_are_joined_and_told_of() {
    let agent = bundled("1s", &["cpu", "memory", "process"]);
    let sql = "select p.pid, p.name, 100.0 * p.resident_bytes / m.total_bytes as share, \
                      c._timestamp as at \
               from process_processes p, memory m, cpu c \
               join dropsonde_collectors d on d.collector = 'process' and d.ready \
               where p.resident_bytes > 0 order by share desc limit 3";
    let found = rows(&agent, &[sql]);
    assert!(!found.is_empty());
    for row in &found {
        let share = row["share"].as_f64().unwrap();
        assert!(share > 0.0 && share < 100.0, "{row}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!((now.as_secs_f64() - row["at"].as_f64().unwrap()).abs() < 60.0, "{row}");
    }
    // What describe shows is what there is to ask for.
    let columns = "select s.topic, c.table_name, c.column_name, c.unit from dropsonde_streams s \
                   join dropsonde_columns c using (table_name) order by s.topic, c.position";
    let told = rows(&agent, &[columns]);
    let described: Value =
        serde_json::from_str(&agent.told(&["describe", "--json", "metrics.>"])).unwrap();
    let expected: Vec<[&Value; 4]> = described
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|stream| {
            let columns = stream["columns"].as_array().unwrap().iter();
            columns.map(|column| {
                [&stream["topic"], &stream["table"], &column["name"], &column["unit"]]
            })
        })
        .collect();
    let keys = ["topic", "table_name", "column_name", "unit"];
    let told: Vec<[&Value; 4]> = told.iter().map(|row| keys.map(|key| &row[key])).collect();
    assert_eq!(told, expected);
    for stream in described.as_array().unwrap() {
        let table = stream["table"].as_str().unwrap();
        rows(&agent, &[&format!("select * from {table}")]);
    }
}

#[test]
fn a_query_takes_the_last_batch_and_reads_only_what_is_too_old() {
    let agent = bundled("1h", &["network", "memory"]);
    let counts = || {
        let status = agent.json("/api/v1/status");
        let streams = status["bus"]["streams"].as_array().unwrap().clone();
        let of = |topic: &str, key: &str| {
            let stream = streams.iter().find(|stream| stream["topic"] == topic).unwrap();
            stream[key].as_u64().unwrap()
        };
        let all = ["metrics.network.interfaces", "metrics.memory"];
        all.map(|topic| (of(topic, "batches"), of(topic, "cache_hits")))
    };
    let [network, memory] = counts();
    let sql = "select a._sequence as a, b._sequence as b \
               from network_interfaces a join network_interfaces b using (interface)";
    for _ in 0..10 {
        let found = rows(&agent, &[sql]);
        assert!(!found.is_empty() && found.iter().all(|row| row["a"] == row["b"]), "{found:?}");
    }
    let [network_after, memory_after] = counts();
    assert_eq!(network_after, (network.0, network.1 + 10), "no read, and one hit for each query");
    assert_eq!(memory_after, memory, "what a query does not name is left alone");
    rows(&agent, &[sql, "--max-age", "0s"]);
    let [network_read, memory_after] = counts();
    assert_eq!(network_read, (network_after.0 + 1, network_after.1), "one read for both uses");
    assert_eq!(memory_after, memory);
    rows(&agent, &[sql, "--max-age", "1h"]);
    assert_eq!(counts()[0], (network_read.0, network_read.1 + 1));
}

#[test]
fn watch_asks_again_and_again_and_outlives_the_agent() {
    let agent = Agent::with_plugins("[defaults]\ninterval = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let sql = "select _sequence as number from steady";
    let mut watching = Going::start(&agent, &["query", "--watch", "100ms", "--json", sql]);
    let lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut numbers = lines.map(|line| {
        let row: Value = serde_json::from_str(&line.unwrap()).unwrap();
        row["number"].as_u64().unwrap()
    });
    let first: Vec<u64> = numbers.by_ref().take(4).collect();
    assert!(first.is_sorted_by(|a, b| a < b), "{first:?}");
    let mut tables = Going::start(&agent, &["query", "--watch", "100ms", sql]);
    let lines = BufReader::new(tables.0.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.take(8).map(Result::unwrap).collect();
    for table in lines.chunks(3).filter(|table| table.len() == 3) {
        assert_eq!((table[0].as_str(), table[2].as_str()), ("NUMBER", ""), "{lines:?}");
    }
    agent.signal("KILL");
    let agent = agent.ended().start_again();
    agent.running("steady");
    wait_for("an answer of the next agent", || {
        let after = numbers.next().unwrap();
        (after < first[3]).then_some(())
    });
    let refusal = agent.refused(1, &["query", "--watch", "100ms", "select absent from steady"]);
    assert!(refusal.contains("no such column"), "{refusal}");
}

#[test]
fn what_is_wrong_is_told_and_changes_nothing() {
    let agent = Agent::steady();
    for (arguments, told) in [
        (vec!["select * form steady"], "near \"form\": syntax error, at line 1, character 10"),
        (vec!["select * from stedy"], "no such table: stedy; did you mean `steady`?"),
        (vec!["select elapesd from steady"], "no such column: elapesd; did you mean `elapsed`?"),
        (vec!["delete from steady"], "writing is refused: a query is one SELECT, and only reads"),
        (vec!["create table t(a)"], "writing is refused"),
        (vec!["attach '/tmp/x.db' as x"], "another database is refused"),
        (vec!["pragma query_only=0"], "PRAGMA query_only is refused"),
        (vec!["select 1; select 2"], "a second statement is refused"),
        (vec![""], "there is no SQL in it"),
        (vec!["select 1", "--timeout", "61s"], "60 s at most, not 1m 1s"),
        (vec!["select 1", "--limit", "1000001"], "1 to 1000000 rows, not 1000001"),
        (vec!["select randomblob(300000)"], "more than 256 KiB"),
        (
            vec![
                "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n",
                "--timeout",
                "200ms",
            ],
            "the query took longer than 200ms",
        ),
        (
            vec![
                "with recursive n(i) as (select 1 union all select i + 1 from n) \
                 select i, randomblob(9999) from n order by 2",
            ],
            "more than the 32 MiB that queries have",
        ),
    ] {
        let refusal = agent.refused(1, &[&["query"], arguments.as_slice()].concat());
        assert!(refusal.contains(told), "{arguments:?}: {refusal}");
    }
    for arguments in [["--watch", "1ms"], ["--limit", "0"], ["--timeout", "soon"]] {
        agent.refused(2, &[&["query", "select 1"], arguments.as_slice()].concat());
    }
    assert_eq!(number(&agent, "select count(*) from steady"), 1.0);
    assert!(!agent.log().iter().any(|line| line.contains("panicked")), "{:#?}", agent.log());
}

#[test]
fn sql_comes_from_standard_input_and_long_answers_in_parts() {
    let agent = Agent::steady();
    let ask = |arguments: &[&str], sql: &str| {
        let mut command = agent.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let numbers = "with recursive n(i) as (select 1 union all select i + 1 from n)\n\
                   select i, 'ü' || i as text, null as missing, 1.5 as half, i from n";
    let output = ask(&["query", "--json", "--limit", "20000", "--timeout", "60s", "-"], numbers);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 20_000);
    let last = r#"{"i":20000,"text":"ü20000","missing":null,"half":1.5,"i_2":20000}"#;
    assert_eq!(lines.lines().last(), Some(last));
    assert!(told.contains("there are more rows than that; --limit gives more"), "{told}");
    let output = ask(&["query", "-"], "values (1, null, 'x'), (2345, 0.25, 'yy')");
    let table = "COLUMN1  COLUMN2  COLUMN3\n      1        -  x\n   2345    0.250  yy\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), table);
}

/// Two queries that never end, over and over, and clients that go away: collectors are on time.
#[test]
fn queries_without_end_delay_no_collector() {
    let config = "[defaults]\ninterval = \"250ms\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("steady_v1")]);
    let before = agent.running("steady");
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) \
                   select max(i) from n, steady_parts";
    let started = Instant::now();
    let patient = ["query", "--timeout", "60s", endless];
    let busy = [Going::start(&agent, &patient), Going::start(&agent, &patient)];
    // Both run, so that the next has no turn.
    wait_for("both to run", || {
        let output = agent.ask(&["query", "--timeout", "100ms", "select 1"]);
        let told = String::from_utf8(output.stderr).unwrap();
        told.contains("no turn came in time").then_some(())
    });
    std::thread::sleep(Duration::from_secs(2));
    let after = agent.collector("steady").unwrap();
    let count = |status: &Value, key: &str| status[key].as_u64().unwrap();
    let rounds = count(&after, "rounds") - count(&before, "rounds");
    let due = started.elapsed().as_millis() as u64 / 250;
    assert!(rounds + 2 >= due, "{rounds} of {due}");
    assert_eq!(count(&after, "missed_ticks"), count(&before, "missed_ticks"));
    drop(busy);
    wait_for("their turns, since they have gone", || {
        agent.ask(&["query", "--timeout", "100ms", "select 1"]).status.success().then_some(())
    });
    assert!(started.elapsed() < Duration::from_secs(50), "not at their timeouts");
}

#[test]
fn who_looks_at_a_terminal_is_told_what_takes_long_and_others_are_not() {
    let agent = Agent::start("");
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n";
    let command = agent.command(&["query", "--timeout", "3s", endless]);
    let mut terminal = Terminal::start(&command, 24, 80);
    terminal.shows("waiting for the answer: 1 s");
    terminal.shows("the query took longer than 3s");
    assert!(!terminal.text().contains("waiting for"), "{}", terminal.text());
    assert_eq!(terminal.ended().code(), Some(1));
    let text = agent.refused(1, &["query", "--timeout", "2s", endless]);
    assert!(!text.contains("waiting for"), "{text}");
}
