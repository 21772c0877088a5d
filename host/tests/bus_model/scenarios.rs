//! What happens at once.

use std::time::Duration;

use dropsonde::bench::{batch, stream};
use dropsonde_plugin_api::schema::StreamKind;
use shuttle::future::{self, JoinHandle};
use shuttle::thread;

use crate::bus::{Bus, Overflow, Publisher, Subscribe, Subscription};

/// Random orders of each scenario, and as many with few changes of thread.
pub(crate) const ORDERS: usize = 1000;

type Scenario = (&'static str, fn());

pub(crate) const ALL: [Scenario; 7] = [
    ("no_wake_up_is_lost", no_wake_up_is_lost),
    ("whoever_comes_late_has_an_unbroken_rest", whoever_comes_late_has_an_unbroken_rest),
    ("one_that_leaves_takes_nothing_from_others", one_that_leaves_takes_nothing_from_others),
    ("groups_are_not_mixed_up", groups_are_not_mixed_up),
    ("room_is_neither_lost_nor_made", room_is_neither_lost_nor_made),
    ("losses_and_deliveries_are_all_there_is", losses_and_deliveries_are_all_there_is),
    ("the_last_batch_is_there_once_it_is_published", the_last_batch_is_there_once_it_is_published),
];

/// A bus whose dispatcher is a task of its own, which ends with it.
fn start() -> (Bus, JoinHandle<()>) {
    let (bus, dispatcher) = Bus::parts();
    (bus, future::spawn(dispatcher))
}

/// The dispatcher must end: nothing may keep it.
fn end(bus: Bus, dispatcher: JoinHandle<()>) {
    drop(bus);
    future::block_on(dispatcher).unwrap();
}

fn publisher(bus: &Bus, topic: &str) -> Publisher {
    bus.publisher(stream(topic, StreamKind::Snapshot))
}

fn publish(publisher: &Publisher, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        publisher.publish_now(batch(publisher.info(), sequence));
    }
}

fn to(pattern: &str) -> Subscribe {
    Subscribe::to(pattern).unwrap()
}

/// Waits for so many batches, one by one or all that wait.
fn receive(subscription: &mut Subscription, count: usize, together: bool) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < count {
        if together {
            let batches = future::block_on(subscription.recv_many());
            got.extend(batches.iter().map(|batch| batch.sequence));
        } else {
            got.push(future::block_on(subscription.recv()).sequence);
        }
    }
    got
}

/// What waits.
fn waiting(subscription: &mut Subscription) -> Vec<u64> {
    std::iter::from_fn(|| subscription.try_recv()).map(|batch| batch.sequence).collect()
}

/// What was published before has been delivered.
fn flush(bus: &Bus) {
    let mark = publisher(bus, "host.mark");
    let mut marked = bus.subscribe(to("host.mark"));
    publish(&mark, [1]);
    receive(&mut marked, 1, false);
}

fn no_wake_up_is_lost() {
    let (bus, dispatcher) = start();
    let cpu = publisher(&bus, "metrics.cpu");
    let mut alone = bus.subscribe(to("metrics.cpu").sample(2));
    let mut one = bus.subscribe(to("metrics.>"));
    let mut other = bus.subscribe(to("metrics.>"));
    let publishing = thread::spawn(move || publish(&cpu, 1..=4));
    let receivers = [
        thread::spawn(move || receive(&mut alone, 4, false)),
        thread::spawn(move || receive(&mut one, 4, false)),
        thread::spawn(move || receive(&mut other, 4, true)),
    ];
    for receiver in receivers {
        assert_eq!(receiver.join().unwrap(), [1, 2, 3, 4]);
    }
    publishing.join().unwrap();
    end(bus, dispatcher);
}

fn whoever_comes_late_has_an_unbroken_rest() {
    let (bus, dispatcher) = start();
    let cpu = publisher(&bus, "metrics.cpu");
    let publishing = thread::spawn(move || {
        publish(&cpu, 1..=4);
        cpu // a stream that has gone takes nobody's batches, but is not there for latecomers
    });
    let late = [to("metrics.cpu"), to("metrics.*").sample(2)].map(|request| {
        let bus = bus.clone();
        thread::spawn(move || bus.subscribe(request))
    });
    let late = late.map(|late| late.join().unwrap());
    let cpu = publishing.join().unwrap();
    publish(&cpu, [5]);
    flush(&bus);
    for mut subscription in late {
        let got = waiting(&mut subscription);
        assert!(!got.is_empty() && got == Vec::from_iter(6 - got.len() as u64..=5), "{got:?}");
        assert_eq!(subscription.status().lost.total(), 0);
    }
    drop(cpu);
    end(bus, dispatcher);
}

fn one_that_leaves_takes_nothing_from_others() {
    let (bus, dispatcher) = start();
    let cpu = publisher(&bus, "metrics.cpu");
    let leaving = bus.subscribe(to("metrics.cpu"));
    let blocking = Overflow::Block(1, Duration::ZERO);
    let blocked = bus.subscribe(to("metrics.cpu").overflow(blocking));
    let mut staying = bus.subscribe(to("metrics.cpu"));
    let others = [
        thread::spawn(move || drop(leaving)),
        thread::spawn(move || drop(blocked)),
        thread::spawn(move || publish(&cpu, 1..=3)), // and the stream goes too
    ];
    assert_eq!(receive(&mut staying, 3, true), [1, 2, 3]);
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(bus.status().subscriptions.len(), 1);
    drop(staying);
    end(bus, dispatcher);
}

/// The place of a group that has emptied is given out again, to others with other streams.
fn groups_are_not_mixed_up() {
    let (bus, dispatcher) = start();
    let (cpu, disk) = (publisher(&bus, "metrics.cpu"), publisher(&bus, "metrics.disk"));
    let other = bus.subscribe(to("metrics.disk"));
    let old = bus.subscribe(to("metrics.*"));
    let leaving = thread::spawn(move || drop(old));
    let coming = {
        let bus = bus.clone();
        thread::spawn(move || bus.subscribe(to("metrics.cpu")))
    };
    for sequence in 1..=2 {
        publish(&disk, [100 + sequence]);
        publish(&cpu, [sequence]);
    }
    leaving.join().unwrap();
    let mut new = coming.join().unwrap();
    publish(&disk, [103]);
    publish(&cpu, [3]);
    flush(&bus);
    let got = waiting(&mut new);
    assert!(got.ends_with(&[3]) && got.iter().all(|sequence| *sequence < 100), "{got:?}");
    drop((new, other, cpu, disk));
    end(bus, dispatcher);
}

/// After whatever came and went, there is as much room as there was.
fn room_is_neither_lost_nor_made() {
    let (bus, dispatcher) = start();
    let old = publisher(&bus, "metrics.cpu");
    let request = to("metrics.cpu").overflow(Overflow::Block(2, Duration::ZERO));
    let subscribing = {
        let bus = bus.clone();
        thread::spawn(move || bus.subscribe(request))
    };
    let replacing = {
        let bus = bus.clone();
        thread::spawn(move || publisher(&bus, "metrics.cpu"))
    };
    publish(&old, 1..=3); // while somebody subscribes, and the stream is replaced
    let mut blocking = subscribing.join().unwrap();
    let new = replacing.join().unwrap();
    publish(&old, [4]);
    flush(&bus);
    waiting(&mut blocking);
    for _ in 0..2 {
        let before = blocking.status().lost.deadline;
        publish(&new, [6, 7, 8]);
        flush(&bus);
        assert_eq!(waiting(&mut blocking), [6, 7], "room for two");
        assert_eq!(blocking.status().lost.deadline - before, 1);
    }
    drop((old, new, blocking));
    end(bus, dispatcher);
}

fn losses_and_deliveries_are_all_there_is() {
    let (bus, dispatcher) = start();
    let cpu = publisher(&bus, "metrics.cpu");
    let policies = [Overflow::Latest, Overflow::DropOldest(2), Overflow::Block(1, Duration::ZERO)];
    let takers = policies.map(|policy| {
        let mut subscription = bus.subscribe(to("metrics.cpu").overflow(policy));
        thread::spawn(move || {
            let mut got = receive(&mut subscription, 1, true);
            got.extend(waiting(&mut subscription));
            (got, subscription)
        })
    });
    publish(&cpu, 1..=5);
    flush(&bus);
    for taker in takers {
        let (mut got, mut subscription) = taker.join().unwrap();
        got.extend(waiting(&mut subscription));
        let status = subscription.status();
        assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
        assert_eq!(got.len() as u64 + status.lost.total(), 5, "{got:?} {status:?}");
        assert_eq!(status.waiting, 0);
        if !matches!(status.overflow, Overflow::Block(..)) {
            assert_eq!(got.last(), Some(&5), "the newest is not what is lost");
        }
    }
    drop(cpu);
    end(bus, dispatcher);
}

fn the_last_batch_is_there_once_it_is_published() {
    let (bus, dispatcher) = start();
    let cpu = publisher(&bus, "metrics.cpu");
    let latest = |bus: &Bus| bus.latest("metrics.cpu").map_or(0, |batch| batch.sequence);
    let reading = {
        let bus = bus.clone();
        thread::spawn(move || [latest(&bus), latest(&bus), latest(&bus)])
    };
    for sequence in 1..=3 {
        publish(&cpu, [sequence]);
        assert_eq!(latest(&bus), sequence);
    }
    assert!(reading.join().unwrap().is_sorted(), "it never goes back");
    assert_eq!(bus.status().reads, 0, "the host's own streams are no reads");
    drop(cpu);
    assert!(bus.latest("metrics.cpu").is_none());
    end(bus, dispatcher);
}
