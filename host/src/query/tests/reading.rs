//! What queries answer.

use super::*;

#[tokio::test]
async fn values_of_all_types_arrive_and_missing_ones_are_null() {
    let mut world = World::new().await;
    let full = Item {
        name: "Grüße, 世界".into(),
        number: Some(u64::MAX),
        signed: i64::MIN,
        float: 0.25,
        flag: true,
        list: vec!["a b".into(), String::new(), "\"".into()],
    };
    world.publish("items", &[full, item("")]).await;
    let rows = world.rows("select * from items").await;
    let big = "1.8446744073709552e19";
    let first = format!("Grüße, 世界|{big}|-9223372036854775808|0.25|1|[\"a b\",\"\",\"\\\"\"]");
    assert_eq!(rows, [first, "|NULL|0|0.0|0|[]".to_owned()]);
    let types = "select typeof(number), typeof(signed), typeof(float), typeof(list) from items";
    assert_eq!(world.rows(types).await[0], "real|integer|real|text");
    let each = "select json_each.value from items, json_each(list) where items.flag";
    assert_eq!(world.rows(each).await, ["a b", "", "\""]);
}

#[tokio::test]
async fn columns_of_the_read_are_there_for_who_names_them() {
    let world = World::with_items(1).await;
    let sql = "select _timestamp, _generation, _sequence from items";
    assert_eq!(world.rows(sql).await, ["1.5|3|1"]);
    let rows = world.start(Query::new("select * from items")).await.unwrap();
    assert_eq!(rows.columns(), ["name", "number", "signed", "float", "flag", "list"]);
}

#[tokio::test]
async fn tables_join_each_other_by_text_and_by_number() {
    let mut world = World::with_items(1_000).await;
    let mut few = numbered(3);
    few.iter_mut().for_each(|item| item.float = item.number.unwrap_or_default() as f64 * 2.0);
    world.publish("other.few", &few).await;
    let by_text = "select items.number, few.float from items \
                   join other_few as few on few.name = items.name order by 1";
    assert_eq!(world.rows(by_text).await, ["0|0.0", "1|2.0", "2|4.0"]);
    // A float of one table, and an unsigned integer of the other.
    let by_number = "select few.name, items.name from other_few as few \
                     join items on items.number = few.float order by 1";
    assert_eq!(world.rows(by_number).await, ["n0|n0", "n1|n2", "n2|n4"]);
    let left = "select count(*), count(few.name) from items left join other_few few using (name)";
    assert_eq!(world.rows(left).await, ["1000|3"]);
}

#[tokio::test]
async fn an_equality_finds_what_a_scan_finds_whatever_the_types_and_collations() {
    let mut world = World::new().await;
    let mut items = numbered(20);
    items.extend([item("5"), item("N7"), item("n7")]);
    items[4].float = -0.0;
    world.publish("items", &items).await;
    for condition in [
        "number = 5",
        "number = 5.0",
        "number = '5'",
        "number = null",
        "number is null",
        "number is 5",
        "number in (1, 2.0, '3', 99)",
        "name = 5",
        "name = '5'",
        "name = 'n7'",
        "name = 'n7' collate nocase",
        "name = x'6e37'",
        "float = 0",
        "flag = 0 and name = 'n3'",
        "list = '[]'",
        "rowid = 3",
        "_sequence = 1 and number = 3",
    ] {
        // The subquery's limit keeps the condition from the table, and so from an index.
        let all = "(select *, rowid, _sequence from items limit 99)";
        let of = |table: &str| format!("select name from {table} where {condition} order by rowid");
        let (found, scanned) = (of("items"), of(all));
        let (found, scanned) = (world.rows(&found).await, world.rows(&scanned).await);
        assert_eq!(found, scanned, "{condition}");
    }
}

#[tokio::test]
async fn a_join_of_large_tables_reads_each_row_by_its_key() {
    let world = World::with_items(20_000).await;
    // Row by row it would be four hundred million.
    let sql = "select count(*) from items a join items b on a.name = b.name \
               join items c on c.number = b.number";
    assert_eq!(world.rows(sql).await, ["20000"]);
}

#[tokio::test]
async fn a_query_sees_one_batch_of_a_stream_though_others_come() {
    let world = World::with_items(3).await;
    let mut rows = world
        .start(Query::new(
            "select count(distinct a._sequence || '.' || b._sequence) from items a, items b",
        ))
        .await
        .unwrap();
    let publisher = &world.publishers[0];
    publisher.publish(batch(publisher.info(), &numbered(9), 2)).await;
    assert_eq!(rows.next().await.unwrap().unwrap(), [[Cell::Integer(1)]]);
    assert_eq!(world.reads.load(Ordering::Relaxed), 1, "named twice, read once");
}

#[tokio::test]
async fn only_the_streams_that_a_query_names_are_read() {
    let mut world = World::with_items(1).await;
    world.publish("other", &numbered(1)).await;
    world.rows("select 1").await;
    assert_eq!(world.reads.load(Ordering::Relaxed), 0);
    world.rows("with x as (select * from other) select count(*) from x").await;
    assert_eq!(world.reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_name_that_two_streams_have_is_refused_and_their_own_names_serve() {
    let mut world = World::new().await;
    world.publish("a.b", &numbered(1)).await;
    world.publish("a-b", &numbered(2)).await;
    let error = world.error("select * from a_b").await.to_string();
    assert!(error.contains("`a_b` may mean \"a-b\" or \"a.b\""), "{error}");
    assert_eq!(world.rows("select count(*) from \"a.b\"").await, ["1"]);
    assert_eq!(world.rows("select count(*) from \"a-b\"").await, ["2"]);
    world.publish("a_b", &numbered(3)).await;
    assert_eq!(world.rows("select count(*) from a_b").await, ["3"], "its own name");
}

#[tokio::test]
async fn what_could_not_be_read_is_an_empty_table() {
    let mut world = World::new().await;
    world.publish("items", &[]).await;
    assert_eq!(world.rows("select count(*), max(number) from items").await, ["0|NULL"]);
    let read = |_, _| std::future::ready(Vec::new());
    let query = Query::new("select count(*) from items where name = 'a'");
    let rows = world.engine.run(query, world.bus.streams(), world.bus.clone(), None, read).await;
    assert_eq!(rows.unwrap().next().await.unwrap().unwrap(), [[Cell::Integer(0)]]);
}

#[tokio::test]
async fn a_stream_whose_columns_change_as_the_query_begins_is_an_error() {
    let world = World::with_items(1).await;
    let read = |streams: Vec<Arc<StreamInfo>>, _| {
        let mut schema = streams[0].schema.clone();
        schema.columns.swap(0, 1);
        let old = &streams[0];
        let info = StreamInfo::new(&old.collector, &old.plugin, schema);
        std::future::ready(vec![batch(&Arc::new(info), &[], 1)])
    };
    let query = Query::new("select * from items");
    let rows = world.engine.run(query, world.bus.streams(), world.bus.clone(), None, read).await;
    let error = rows.unwrap().next().await.unwrap_err();
    assert_eq!(error, QueryError::Changed("items".into()));
}

#[tokio::test]
async fn a_history_file_is_read_beside_what_is_live_and_never_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history.db");
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer
        .execute_batch("create table old(name, value); insert into old values ('n1', 7)")
        .unwrap();
    let mut world = World::with_items(2).await;
    world.history = Some(file.clone());
    let sql = "select items.number, old.value from items join history.old as old using (name)";
    assert_eq!(world.rows(sql).await, ["1|7"]);
    for sql in ["insert into history.old values (1, 2)", "drop table history.old"] {
        let error = world.error(sql).await;
        assert!(matches!(error, QueryError::NotReadOnly(_)), "{sql}: {error}");
    }
    assert_eq!(world.rows("select count(*) from history.old").await, ["1"]);
    world.history = Some(directory.path().join("missing.db"));
    assert_eq!(world.rows("select 1").await, ["1"], "what does not name it does not need it");
    let error = world.error("select 1 from history.old").await.to_string();
    assert!(error.contains("missing.db"), "{error}");
    assert!(!directory.path().join("missing.db").exists());
}
