//! Queries end: in time, within memory, within their rows, and when nobody wants them.

use std::time::Instant;

use super::*;

const ENDLESS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n)";

/// With a fifth of a second.
fn short(sql: impl Into<String>) -> Query {
    Query { timeout: Duration::from_millis(200), ..Query::new(sql) }
}

#[tokio::test]
async fn a_query_without_end_is_stopped_in_time() {
    let world = World::with_items(10_000).await;
    for sql in [
        format!("{ENDLESS} select count(*) from n"),
        format!("{ENDLESS} select i from n where i < 0"),
        "select count(*) from items a, items b, items c where a.number + b.number < c.signed"
            .into(),
        "select count(*) from items a, items b where a.name || b.name like '%x%y%z%'".into(),
    ] {
        let started = Instant::now();
        let error = world.ask(short(&sql)).await.unwrap_err();
        assert_eq!(error, QueryError::Timeout(Duration::from_millis(200)), "{sql}");
        assert!(started.elapsed() < Duration::from_secs(2), "{sql}: {:?}", started.elapsed());
    }
    assert_eq!(world.rows("select count(*) from items").await, ["10000"], "the next one runs");
}

#[tokio::test]
async fn a_query_that_wants_too_much_memory_is_told_so() {
    let mut world = World::alone().await;
    world.publish("items", &numbered(10_000)).await;
    for sql in [
        format!("{ENDLESS} select randomblob(1000) from n order by 1"),
        format!("{ENDLESS} select distinct randomblob(1000) from n"),
        format!("{ENDLESS} select i, count(*) from n group by 1 + random()"),
        "select a.name from items a, items b order by a.number * b.number".into(),
        format!("select {} 1", "randomblob(260000), ".repeat(1_500)),
    ] {
        let error = world.error(&sql).await;
        assert_eq!(error, QueryError::Memory, "{sql}");
    }
    for sql in [
        format!("select {} 1", "randomblob(200000), ".repeat(10)),
        "select randomblob(300000)".to_owned(),
        "select printf('%.*c', 100000000, 'x')".to_owned(),
        "select replace(hex(randomblob(1000)), '0', hex(randomblob(9999)))".to_owned(),
        "select group_concat(name || name || name || name || name || name) from items".to_owned(),
        format!("{ENDLESS} select json_group_array(i) from (select i from n limit 100000)"),
    ] {
        let error = world.error(&sql).await;
        assert_eq!(error, QueryError::TooBig, "{sql}");
    }
    assert_eq!(world.rows("select count(*) from items").await, ["10000"], "the next one runs");
}

#[tokio::test]
async fn rows_beyond_the_limit_are_left_out_and_it_says_so() {
    let world = World::with_items(1_000).await;
    for (limit, told) in [(999, true), (1_000, false), (1_001, false), (1, true)] {
        let query = Query { limit, ..Query::new("select number from items") };
        let mut rows = world.start(query).await.unwrap();
        let mut count = 0;
        while let Some(more) = rows.next().await.unwrap() {
            assert!(!more.is_empty());
            count += more.len() as u64;
        }
        assert_eq!((count, rows.truncated()), (limit.min(1_000), told));
        assert_eq!(rows.next().await, Ok(None), "it has ended, and stays so");
    }
    let endless = Query::new(format!("{ENDLESS} select i from n"));
    assert_eq!(world.ask(endless).await.unwrap().len(), 10_000);
}

#[tokio::test]
async fn rows_that_are_dropped_end_the_query() {
    let world = World::with_items(1).await;
    let long = |sql: &str| Query { timeout: Duration::from_secs(60), ..Query::new(sql) };
    for _ in 0..10 {
        let sql = format!("{ENDLESS} select i from n");
        let mut rows = world.start(long(&sql)).await.unwrap();
        rows.next().await.unwrap();
        drop(rows);
        let sql = format!("{ENDLESS} select count(*) from n");
        drop(world.start(long(&sql)).await.unwrap());
    }
    // All of them gave their turn back.
    assert_eq!(world.rows("select 1").await, ["1"]);
    world.idle().await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_gives_its_turn_back_at_the_deadline() {
    let world = World::with_items(1).await;
    let endless = short(format!("{ENDLESS} select i from n"));
    let endless = Query { limit: 1_000_000, ..endless };
    let mut stalled = vec![world.start(endless.clone()).await.unwrap()];
    stalled.push(world.start(endless).await.unwrap());
    assert_eq!(world.rows("select 1").await, ["1"], "it waited, and had its turn");
    for mut rows in stalled {
        let error = loop {
            match rows.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it has no end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error, QueryError::Timeout(Duration::from_millis(200)));
    }
}

#[tokio::test]
async fn two_queries_run_sixteen_wait_and_the_next_is_refused() {
    let world = World::with_items(1).await;
    let endless = format!("{ENDLESS} select count(*) from n");
    let busy = |timeout| {
        world.ask(Query { timeout: Duration::from_millis(timeout), ..Query::new(&endless) })
    };
    let two = async { tokio::join!(busy(600), busy(600)) };
    let waiting = futures_util::future::join_all((0..16).map(|_| busy(300)));
    let refused = async {
        while world.engine.places.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.error("select 1").await // it would have had an answer when the two had ended
    };
    let ((one, two), waiting, refused) = tokio::join!(two, waiting, refused);
    for running in [one, two] {
        assert_eq!(running.unwrap_err(), QueryError::Timeout(Duration::from_millis(600)));
    }
    assert!(waiting.iter().all(|waited| *waited == Err(QueryError::Busy)), "{waiting:?}");
    assert_eq!(refused, QueryError::Busy);
    assert_eq!(world.rows("select 1").await, ["1"]);
}

#[test]
fn a_thousand_queries_leave_nothing_behind() {
    let name = "of-a-thousand";
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().thread_name(name).build().unwrap().block_on(async {
        let world = World::with_items(100).await;
        let batch = world.bus.latest("metrics.items").unwrap();
        let held = Arc::strong_count(&batch);
        for number in 0..1_000 {
            let sql = match number % 4 {
                0 => "select * from items order by number desc limit 5",
                1 => "select count(*) from items a join items b using (name)",
                2 => "select nothing from items",
                _ => "insert into items values (1)",
            };
            let _ = world.ask(Query::new(sql)).await;
        }
        world.idle().await;
        assert_eq!(Arc::strong_count(&batch), held, "of the batch");
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        let threads = names.filter(|comm| comm.trim_end() == name).count();
        assert!((1..10).contains(&threads), "{threads} threads");
    });
}
