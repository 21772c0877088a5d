//! What queries may not do, and what they are told.

use super::*;

#[tokio::test]
async fn whatever_is_no_reading_is_refused_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("made.db").display().to_string();
    let world = World::with_items(2).await;
    for sql in [
        "insert into items(name) values ('x')",
        "update items set number = 1",
        "delete from items",
        "with x as (select 1) delete from items",
        "replace into items(name) values ('x')",
        "create table t(a)",
        "create temp table t(a)",
        "create temp view v as select * from items",
        "create virtual table t using fts5(a)",
        "drop table items",
        "alter table items rename to x",
        &format!("attach '{file}' as x"),
        "detach main",
        "pragma table_info('items')",
        "pragma query_only = false",
        "pragma hard_heap_limit = 0",
        "select * from pragma_table_info('items')",
        "select load_extension('/x.so')",
        "select fts3_tokenizer('simple')",
        "select zeroblob(1)",
        "select json_patch('{}', '{}')",
        "begin",
        "commit",
        "savepoint s",
        "vacuum",
        &format!("vacuum into '{file}'"),
        "analyze",
        "reindex",
        "select 1; delete from items",
        "select 1; select 2",
    ] {
        let error = world.error(sql).await;
        let shown = error.to_string();
        assert!(matches!(error, QueryError::NotReadOnly(_)), "{sql}: {shown}");
        assert!(shown.ends_with("is refused: a query is one SELECT, and only reads"), "{shown}");
    }
    assert_eq!(world.rows("select name from items").await, ["n0", "n1"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn every_form_of_reading_is_allowed() {
    let world = World::with_items(3).await;
    for (sql, rows) in [
        ("select count(*) from items;", 1),
        ("select 1 -- and nothing more;", 1),
        ("values (1), (2)", 2),
        (
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
            5,
        ),
        ("with empty as (select 1) select count(*) from empty, items", 1),
        ("select name, row_number() over (order by number desc) from items", 3),
        ("select name from items union select 'x' except select 'n1'", 3),
        ("select (select max(number) from items), exists (select 1 from items)", 1),
    ] {
        assert_eq!(world.rows(sql).await.len(), rows, "{sql}");
    }
    assert!(!world.rows("explain query plan select * from items").await.is_empty());
}

#[tokio::test]
async fn malformed_sql_is_told_where_and_wrong_names_the_nearest() {
    let mut world = World::with_items(1).await;
    world.publish("network.interfaces", &numbered(1)).await;
    for (sql, told) in [
        ("select * form items", "near \"form\": syntax error, at line 1, character 10"),
        ("select *\nfrom 世界 items,", "incomplete input"),
        ("select 'ü',\n  'ö' wrong wrong", "near \"wrong\": syntax error, at line 2, character 13"),
        ("select", "incomplete input"),
        ("", "there is no SQL in it"),
        (" -- only a comment", "there is no SQL in it"),
        ("select * from item", "no such table: item; did you mean `items`?"),
        (
            "select * from network_interface",
            "no such table: network_interface; did you mean `network_interfaces`?",
        ),
        (
            "select nmber from items",
            "no such column: nmber; did you mean `number`?, at line 1, character 8",
        ),
        ("select i.nmae from items i", "no such column: i.nmae; did you mean `name`?"),
        ("select \"nmber\" from items", "no such column"),
        ("select nonsense(1)", "no such function: nonsense"),
        ("select ?1", "parameters"),
        ("select json('{')", "malformed JSON"),
    ] {
        let error = world.error(sql).await;
        assert!(matches!(error, QueryError::Sql { .. }), "{sql}: {error:?}");
        assert!(error.to_string().contains(told), "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_is_out_of_bounds_is_refused_before_it_begins() {
    let world = World::with_items(1).await;
    let with = |set: fn(&mut Query)| {
        let mut query = Query::new("select 1");
        set(&mut query);
        query
    };
    for query in [
        with(|query| query.timeout = Duration::ZERO),
        with(|query| query.timeout = Duration::from_secs(61)),
        with(|query| query.limit = 0),
        with(|query| query.limit = 1_000_001),
        with(|query| query.sql = "select 1 \0; delete from items".into()),
        with(|query| query.sql = format!("select '{}'", "x".repeat(64 << 10))),
    ] {
        let error = world.ask(query).await.unwrap_err();
        assert!(matches!(error, QueryError::OutOfBounds(_)), "{error:?}");
    }
    let deep = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    for sql in [
        deep.as_str(),
        &format!("select {}1", "1 + ".repeat(5_000)),
        &format!("select 1 {}", "union select 1 ".repeat(500)),
        &format!("select {}1", "1, ".repeat(5_000)),
    ] {
        let error = world.error(sql).await;
        assert!(matches!(error, QueryError::Sql { .. }), "{error:?}");
    }
}
