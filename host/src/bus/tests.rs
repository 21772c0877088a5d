#[path = "tests/filter.rs"]
mod filter;

use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use crate::bus::*;
use crate::model::{Batch, ColumnData, Data, Read, StreamInfo, Value};

fn stream(name: &str, kind: StreamKind) -> Arc<StreamInfo> {
    let (collector, plugin): (Arc<str>, Arc<str>) = (name.into(), "test".into());
    let column = ColumnSchema {
        unit: "1".into(),
        description: "A number.".into(),
        ..ColumnSchema::new("number", Role::Gauge, ValueType::U64)
    };
    let schema = StreamSchema {
        name: String::new(),
        kind,
        description: "Numbers.".into(),
        columns: vec![column],
    };
    Arc::new(StreamInfo::new(&collector, &plugin, schema))
}

fn batch(info: &Arc<StreamInfo>, number: u64, due: Duration) -> Arc<Batch> {
    let read =
        Read { generation: 1, sequence: number, wall: std::time::UNIX_EPOCH, monotonic: due, due };
    let column = ColumnData { data: Data::U64(vec![number]), validity: Vec::new() };
    Arc::new(Batch::new(info.clone(), read, 1, vec![column]))
}

fn number(batch: &Batch) -> u64 {
    match batch.get(0, "number") {
        Value::U64(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Publishes the numbers 1 to `count`, due a second apart, and lets the dispatcher run.
async fn publish(publisher: &Publisher, count: u64) {
    for value in 1..=count {
        let due = Duration::from_secs(value);
        publisher.publish(batch(publisher.info(), value, due)).await;
    }
    settle().await;
}

/// All that is ready runs: the runtime of a test has one thread.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn drain(subscription: &mut Subscription) -> Vec<u64> {
    std::iter::from_fn(|| subscription.try_recv()).map(|batch| number(&batch)).collect()
}

#[tokio::test]
async fn a_subscriber_gets_what_its_pattern_selects_and_what_appears_later() {
    let bus = Bus::new();
    let mut all = bus.subscribe(Subscribe::to("metrics.>").unwrap());
    let cpu = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let mut only = bus.subscribe(Subscribe::to("metrics.cpu").unwrap());
    let memory = bus.publisher(stream("memory", StreamKind::Snapshot));
    publish(&cpu, 2).await;
    publish(&memory, 1).await;
    assert_eq!(drain(&mut all), [1, 2, 1]);
    assert_eq!(drain(&mut only), [1, 2]);
    assert_eq!(number(&bus.latest("metrics.cpu").unwrap()), 2);
    drop(cpu);
    assert!(bus.latest("metrics.cpu").is_none());
}

#[tokio::test]
async fn a_slow_subscriber_loses_its_own_batches_and_delays_nobody() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let request = |overflow| Subscribe::to("metrics.cpu").unwrap().overflow(overflow);
    let mut latest = bus.subscribe(request(Overflow::Latest));
    let mut oldest = bus.subscribe(request(Overflow::DropOldest(3)));
    let mut quick = bus.subscribe(request(Overflow::DropOldest(100)));
    publish(&publisher, 10).await;
    assert_eq!(drain(&mut quick), (1..=10).collect::<Vec<_>>());
    assert_eq!(drain(&mut latest), [10]);
    assert_eq!(drain(&mut oldest), [8, 9, 10]);
    let lost = |subscription: &Subscription| subscription.status().lost.total();
    assert_eq!((lost(&latest), lost(&oldest), lost(&quick)), (9, 7, 0));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_blocks_loses_nothing_until_its_deadline() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let overflow = Overflow::Block(2, Duration::from_secs(1));
    let mut slow = bus.subscribe(Subscribe::to("metrics.cpu").unwrap().overflow(overflow));
    let mut quick = bus.subscribe(Subscribe::to("metrics.cpu").unwrap());
    let publishing = tokio::spawn(async move {
        publish(&publisher, 5).await;
        publisher
    });
    let mut received = Vec::new();
    while received.len() < 5 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        received.push(number(&*slow.recv().await));
    }
    assert_eq!(received, [1, 2, 3, 4, 5], "slow, and within the deadline");
    let publisher = publishing.await.unwrap();
    publish(&publisher, 4).await; // nobody takes them: each of the last two waits a second
    assert_eq!(drain(&mut slow), [1, 2]);
    assert_eq!(slow.status().lost.total(), 2);
    assert_eq!(drain(&mut quick).len(), 9);
    publish(&publisher, 2).await;
    assert_eq!(drain(&mut slow), [1, 2], "room that was refused is not lost for good");
}

#[tokio::test]
async fn a_stream_is_thinned_out_to_the_subscriber_s_interval() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let every = |seconds| Subscribe::to("metrics.cpu").unwrap().every(Duration::from_secs(seconds));
    let mut fast = bus.subscribe(every(1));
    let mut slow = bus.subscribe(every(5));
    publish(&publisher, 12).await;
    assert_eq!(drain(&mut fast).len(), 12);
    assert_eq!(drain(&mut slow), [1, 5, 10], "the first, then the first of each interval");
}

#[tokio::test]
async fn events_are_never_thinned_out() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("exec", StreamKind::Event));
    let request = Subscribe::to("events.>").unwrap().every(Duration::from_secs(60));
    let mut events = bus.subscribe(request);
    publish(&publisher, 10).await;
    assert_eq!(drain(&mut events).len(), 10);
}

#[tokio::test]
async fn whoever_only_thins_out_demands_nothing() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let request = Subscribe::to("metrics.cpu").unwrap();
    let mut thinned = bus.subscribe(request.at_most_every(Duration::from_secs(2)));
    assert_eq!(bus.demand("metrics.cpu"), None);
    publish(&publisher, 5).await;
    assert_eq!(drain(&mut thinned), [1, 2, 4], "one each for 0-2 s, 2-4 s and 4-6 s");
}

#[tokio::test]
async fn demand_is_the_shortest_interval_that_anyone_asks_for_and_goes_with_them() {
    let bus = Bus::new();
    let _publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let mut changes = bus.demand_changes();
    changes.borrow_and_update();
    let every = |millis| Subscribe::to("metrics.*").unwrap().every(Duration::from_millis(millis));
    assert_eq!(bus.demand("metrics.cpu"), None);
    let slow = bus.subscribe(every(5000));
    let fast = bus.subscribe(every(100));
    assert_eq!(bus.demand("metrics.cpu"), Some(Duration::from_millis(100)));
    assert!(changes.has_changed().unwrap());
    drop(fast);
    assert_eq!(bus.demand("metrics.cpu"), Some(Duration::from_millis(5000)));
    drop(slow);
    assert_eq!(bus.demand("metrics.cpu"), None);
}

#[tokio::test]
async fn every_delivery_beyond_the_first_is_a_read_saved() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let _subscriptions: Vec<_> =
        (0..3).map(|_| bus.subscribe(Subscribe::to("metrics.cpu").unwrap())).collect();
    publish(&publisher, 10).await;
    let status = bus.status();
    assert_eq!((status.reads, status.reads_saved), (10, 20));
}

#[tokio::test]
async fn what_is_delivered_and_lost_is_what_was_published() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("exec", StreamKind::Event));
    let mut subscription =
        bus.subscribe(Subscribe::to("events.>").unwrap().overflow(Overflow::DropOldest(7)));
    let mut received = 0;
    for _ in 0..50 {
        publish(&publisher, 20).await;
        received += drain(&mut subscription).len() as u64;
    }
    assert_eq!(received + subscription.status().lost.total(), 50 * 20);
}

#[tokio::test]
async fn a_subscription_that_has_ended_costs_nothing_and_an_inline_one_is_called_in_order() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    drop(bus.subscribe(Subscribe::to("metrics.cpu").unwrap()));
    let (sender, seen) = std::sync::mpsc::channel();
    bus.subscribe_inline(Subscribe::to("metrics.cpu").unwrap(), move |batch| {
        sender.send(number(batch)).unwrap();
    });
    publish(&publisher, 5).await;
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_stream_that_is_declared_anew_keeps_its_subscribers() {
    let bus = Bus::new();
    let old = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let mut subscription = bus.subscribe(Subscribe::to("metrics.cpu").unwrap());
    publish(&old, 1).await;
    let new = bus.publisher(stream("cpu", StreamKind::Snapshot));
    drop(old);
    publish(&new, 2).await;
    assert_eq!(drain(&mut subscription), [1, 1, 2]);
    let counts = &bus.status().streams[0];
    assert_eq!((counts.batches, counts.records, counts.subscribers), (3, 3, 1), "they go on");
    assert!(bus.latest("metrics.cpu").is_some(), "the old publisher takes only its own away");
}

#[tokio::test]
async fn subscribers_that_ask_for_the_same_lose_each_by_its_own_room() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("exec", StreamKind::Event));
    let subscribe = |room| {
        bus.subscribe(Subscribe::to("events.>").unwrap().overflow(Overflow::DropOldest(room)))
    };
    let (mut small, mut large) = (subscribe(4), subscribe(100));
    publish(&publisher, 20).await;
    assert_eq!(drain(&mut small), [17, 18, 19, 20]);
    assert_eq!((small.status().lost.total(), large.status().waiting), (16, 20));
    let all = large.recv_many().await;
    assert_eq!(all.iter().map(|batch| number(batch)).collect::<Vec<_>>(), Vec::from_iter(1..=20));
    assert_eq!((all.len(), large.status().waiting, large.status().lost.total()), (20, 0, 0));
}

/// A stream of events, each with a number and a name.
fn named_events() -> Arc<StreamInfo> {
    let info = stream("exec", StreamKind::Event);
    let mut schema = info.schema.clone();
    let number = &schema.columns[0];
    let name = ColumnSchema {
        name: "name".into(),
        role: Role::Key,
        value: ValueType::Text,
        ..number.clone()
    };
    schema.columns.push(name);
    Arc::new(StreamInfo::new(&info.collector, &info.plugin, schema))
}

fn named(info: &Arc<StreamInfo>, records: &[(u64, &str)]) -> Arc<Batch> {
    let due = Duration::from_secs(1);
    let read =
        Read { generation: 1, sequence: 1, wall: std::time::UNIX_EPOCH, monotonic: due, due };
    let numbers = Data::U64(records.iter().map(|(number, _)| *number).collect());
    let bytes: Vec<u8> = records.iter().flat_map(|(_, name)| name.bytes()).collect();
    let mut end = 0;
    let ends = records.iter().map(|(_, name)| {
        end += name.len() as u32;
        end
    });
    let names = Data::Text { ends: ends.collect(), bytes };
    let columns = [numbers, names].map(|data| ColumnData { data, validity: Vec::new() });
    Arc::new(Batch::new(info.clone(), read, records.len(), columns.into()))
}

fn numbers(batch: &Batch) -> Vec<u64> {
    (0..batch.rows())
        .map(|row| match batch.get(row, "number") {
            Value::U64(number) => number,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn left_out(subscription: &Subscription) -> LeftOut {
    subscription.status().left_out
}

#[tokio::test]
async fn a_filter_lets_through_the_records_for_which_it_is_true_and_counts_the_others() {
    let bus = Bus::new();
    let publisher = bus.publisher(named_events());
    let other = bus.publisher(stream("other", StreamKind::Event));
    let filtered = |predicate| Subscribe::to("events.>").unwrap().filter(predicate).unwrap();
    let mut a = bus.subscribe(filtered("name = 'a'"));
    let mut same = bus.subscribe(filtered("name = 'a'"));
    let mut big = bus.subscribe(filtered("number > 3").overflow(Overflow::Latest));
    let info = publisher.info().clone();
    publisher.publish(named(&info, &[(1, "a"), (2, "b"), (3, "a")])).await;
    publisher.publish(named(&info, &[(4, "b"), (5, "b")])).await;
    publish(&other, 5).await; // it has no column `name`
    let first = a.try_recv().unwrap();
    assert_eq!(numbers(&first), [1, 3]);
    assert!(Arc::ptr_eq(&first, &same.try_recv().unwrap()), "made once for both");
    assert!(a.try_recv().is_none(), "no event, no batch; and nothing of a stream without names");
    assert_eq!(left_out(&a).filter_records, 3);
    assert_eq!(a.status().delivered, 1);
    assert_eq!(drain(&mut big), [4, 5], "the newest of each stream; the first of its numbers");
    assert_eq!(left_out(&big).filter_records, 3 + 3);
}

#[tokio::test]
async fn a_snapshot_of_which_a_filter_leaves_nothing_arrives_empty() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let request = Subscribe::to("metrics.cpu").unwrap().filter("number >= 2").unwrap();
    let mut subscription = bus.subscribe(request);
    publish(&publisher, 2).await;
    let rows = std::iter::from_fn(|| subscription.try_recv()).map(|batch| batch.rows());
    assert_eq!(rows.collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn of_sampled_events_one_in_so_many_arrives_and_the_rest_is_counted() {
    let mut random = fastrand::Rng::with_seed(3);
    for one_in in [0, 1, 2, 3, 7, 100] {
        let bus = Bus::new();
        let publisher = bus.publisher(named_events());
        let mut sampled = bus.subscribe(Subscribe::to("events.>").unwrap().sample(one_in));
        let mut next = 0;
        for _ in 0..40 {
            let records: Vec<_> =
                (0..random.u64(0..12)).map(|offset| (next + offset, "a")).collect();
            next += records.len() as u64;
            publisher.publish(named(publisher.info(), &records)).await;
        }
        settle().await;
        let batches = std::iter::from_fn(|| sampled.try_recv());
        let got: Vec<u64> = batches.flat_map(|batch| numbers(&batch)).collect();
        let expected: Vec<u64> = (0..next).step_by(one_in.max(1) as usize).collect();
        assert_eq!(got, expected, "one in {one_in}");
        assert_eq!(left_out(&sampled).sample_records, next - expected.len() as u64);
        assert_eq!(sampled.status().lost.total(), 0);
    }
}

#[tokio::test]
async fn snapshots_are_never_sampled() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let mut sampled = bus.subscribe(Subscribe::to("metrics.cpu").unwrap().sample(10));
    publish(&publisher, 5).await;
    assert_eq!(drain(&mut sampled).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn whoever_gathers_is_woken_by_so_many_records_or_after_so_long() {
    let bus = Bus::new();
    let publisher = bus.publisher(named_events());
    let second = Duration::from_secs(1);
    let request = Subscribe::to("events.>").unwrap().gather(4, second);
    let mut subscription = bus.subscribe(request);
    let three = [(1, "a"), (2, "a"), (3, "a")];
    let began = tokio::time::Instant::now();
    publisher.publish(named(publisher.info(), &three)).await;
    assert_eq!(subscription.recv_many().await.records(), 3);
    assert_eq!(began.elapsed(), second, "too few: they wait as long as they may");
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        publisher.publish(named(publisher.info(), &three)).await;
    }
    let (all, ()) = tokio::join!(subscription.recv_many(), settle());
    assert_eq!((all.records(), all.len()), (9, 3));
    assert_eq!(began.elapsed(), Duration::ZERO, "enough: they don't wait");
    // A full queue is enough, and an endless wait is no error.
    let request = Subscribe::to("events.>").unwrap().gather(1000, Duration::MAX);
    let mut full = bus.subscribe(request.overflow(Overflow::DropOldest(2)));
    for _ in 0..2 {
        publisher.publish(named(publisher.info(), &three)).await;
    }
    assert_eq!(full.recv_many().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_loss_is_counted_by_its_cause() {
    let bus = Bus::new();
    let publisher = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let to = || Subscribe::to("metrics.cpu").unwrap();
    let blocking = Overflow::Block(1, Duration::from_millis(1));
    let [latest, oldest, blocking] = [Overflow::Latest, Overflow::DropOldest(2), blocking]
        .map(|policy| bus.subscribe(to().overflow(policy)));
    let thinned = bus.subscribe(to().every(Duration::from_secs(2)));
    publish(&publisher, 5).await;
    let lost = |subscription: &Subscription| subscription.status().lost;
    assert_eq!(lost(&latest), Losses { replaced: 4, ..Losses::default() });
    assert_eq!(lost(&oldest), Losses { overflow: 3, ..Losses::default() });
    assert_eq!(lost(&blocking), Losses { deadline: 4, ..Losses::default() });
    assert_eq!(lost(&thinned).total(), 0);
    assert_eq!(left_out(&thinned).interval_batches, 2, "one each for 0-2 s, 2-4 s and 4-6 s");
    // The dispatcher does not get to run: what it has no room for is lost to all.
    for _ in 0..5000 {
        publisher.publish_now(batch(publisher.info(), 9, Duration::from_secs(9)));
    }
    settle().await;
    assert_eq!(lost(&oldest).bus, 5000 - 4096);
    assert_eq!(lost(&oldest).overflow, 3 + 4096);
    assert_eq!(lost(&blocking), Losses { deadline: 4 + 5000, ..Losses::default() });
    assert_eq!(bus.status().overflowed, 5000 - 4096);
}

#[tokio::test]
async fn room_that_was_reserved_with_an_old_publisher_is_given_back() {
    let bus = Bus::new();
    let old = bus.publisher(stream("cpu", StreamKind::Snapshot));
    let request = Subscribe::to("metrics.cpu").unwrap();
    let second = Duration::from_secs(1);
    let mut blocking = bus.subscribe(request.overflow(Overflow::Block(1, second)));
    old.publish(batch(old.info(), 1, second)).await; // on its way
    let new = bus.publisher(stream("cpu", StreamKind::Snapshot));
    settle().await;
    assert_eq!(drain(&mut blocking), [1]);
    old.publish_now(batch(old.info(), 2, second)); // reserved, and nobody to deliver it to
    settle().await;
    new.publish_now(batch(new.info(), 3, second));
    settle().await;
    assert_eq!(drain(&mut blocking), [3]);
    assert_eq!(blocking.status().lost.total(), 0);
}

/// A subscriber and what it should have.
struct Model {
    subscription: Subscription,
    patterns: Vec<Pattern>,
    expected: Vec<u64>,
    got: Vec<u64>,
}

/// Whoever comes, goes, publishes or takes, in any order: each has all of its time in order, but
/// for the oldest that it had no room for, which are counted.
#[tokio::test]
async fn whoever_comes_and_goes_each_has_what_was_published_in_its_time() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..60 {
        let bus = Bus::new();
        let publishers = [
            ("cpu", StreamKind::Snapshot),
            ("disk", StreamKind::Snapshot),
            ("exec", StreamKind::Event),
        ]
        .map(|(name, kind)| bus.publisher(stream(name, kind)));
        let mut models: Vec<Model> = Vec::new();
        let mut next = 0;
        for _ in 0..200 {
            match random.u8(..10) {
                0 | 1 => {
                    let pattern = ["metrics.>", "metrics.cpu", "events.>", ">"][random.usize(..4)];
                    settle().await; // nothing is on its way
                    let request = Subscribe::to(pattern).unwrap();
                    let overflow = match random.u8(..3) {
                        0 => Overflow::DropOldest(random.usize(1..40)),
                        _ => Overflow::DropOldest(1024),
                    };
                    let subscription = bus.subscribe(request.overflow(overflow));
                    models.push(Model {
                        patterns: subscription.status().patterns,
                        subscription,
                        expected: Vec::new(),
                        got: Vec::new(),
                    });
                }
                2 if !models.is_empty() => {
                    let gone = models.swap_remove(random.usize(..models.len()));
                    settle().await;
                    check(gone);
                }
                3 if !models.is_empty() => {
                    let index = random.usize(..models.len());
                    let model = &mut models[index];
                    model.got.extend(
                        std::iter::from_fn(|| model.subscription.try_recv())
                            .map(|b| number(&b))
                            .take(random.usize(..30)),
                    );
                }
                4 => settle().await,
                _ => {
                    let publisher = &publishers[random.usize(..3)];
                    next += 1;
                    let topic = &publisher.info().topic;
                    for model in &mut models {
                        if model.patterns.iter().any(|pattern| pattern.matches(topic)) {
                            model.expected.push(next);
                        }
                    }
                    publisher
                        .publish(batch(publisher.info(), next, Duration::from_secs(next)))
                        .await;
                }
            }
        }
        settle().await;
        models.into_iter().for_each(check);
    }
}

fn check(mut model: Model) {
    model.got.extend(drain(&mut model.subscription));
    let lost = model.subscription.status().lost.total();
    assert!(model.got.is_sorted_by(|a, b| a < b), "{:?}", model.got);
    assert!(model.got.iter().all(|number| model.expected.contains(number)));
    assert_eq!(model.got.len() as u64 + lost, model.expected.len() as u64);
}
