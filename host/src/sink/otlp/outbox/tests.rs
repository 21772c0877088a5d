use tempfile::TempDir;

use super::*;
use crate::sink::otlp::Signal;
use crate::sink::otlp::status::Shared;

struct Place {
    directory: TempDir,
    status: Shared,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { directory, status: Shared::new(String::new(), "grpc") }
    }

    async fn open(&self, most: u64) -> Outbox {
        let store = Store::new(self.directory.path().join("metrics"));
        Outbox::open(store, most, Counts::new(&self.status, Signal::Metrics)).await
    }

    fn dropped(&self, cause: &str) -> u64 {
        self.status.now().metrics.dropped_requests.get(cause).copied().unwrap_or(0)
    }
}

fn request(text: &str) -> Request {
    Request { body: Bytes::from(text.to_owned()), items: 1 }
}

/// What comes out until nothing is left.
async fn drain(outbox: &mut Outbox) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(taken) = outbox.take().await.unwrap() {
        bodies.push(String::from_utf8(taken.body().to_vec()).unwrap());
        outbox.done(taken).await;
    }
    bodies
}

#[tokio::test]
async fn requests_come_out_in_order_even_after_a_restart() {
    let place = Place::new();
    let mut outbox = place.open(1 << 20).await;
    let first = outbox.pass(request("a"));
    outbox.push(request("b")).await;
    outbox.push(request("c")).await;
    outbox.back(first).await;
    assert_eq!(place.status.now().metrics.queued_requests, 3);
    drop(outbox);
    let mut outbox = place.open(1 << 20).await;
    outbox.push(request("d")).await;
    let taken = outbox.take().await.unwrap().unwrap();
    outbox.back(taken).await;
    assert_eq!(drain(&mut outbox).await, ["a", "b", "c", "d"]);
    assert_eq!(place.status.now().metrics.queued_bytes, 0);
    assert!(place.open(1 << 20).await.is_empty(), "what was sent is gone");
}

#[tokio::test]
async fn the_oldest_give_way_and_are_counted() {
    let place = Place::new();
    let most = 3 * Store::size(&request("0"));
    let mut outbox = place.open(most).await;
    for number in 0..10 {
        outbox.push(request(&number.to_string())).await;
        assert!(place.status.now().metrics.queued_bytes <= most);
    }
    assert_eq!(place.dropped("queue_full"), 7);
    drop(outbox);
    let mut outbox = place.open(most - 1).await;
    assert_eq!(place.dropped("queue_full"), 8);
    assert_eq!(drain(&mut outbox).await, ["8", "9"]);
}

#[tokio::test]
async fn a_damaged_request_is_counted_and_the_others_are_sent() {
    let place = Place::new();
    let mut outbox = place.open(1 << 20).await;
    for body in ["a", "b", "c"] {
        outbox.push(request(body)).await;
    }
    let mut files: Vec<_> = std::fs::read_dir(place.directory.path().join("metrics"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    std::fs::write(&files[1], "cut").unwrap();
    assert_eq!(drain(&mut outbox).await, ["a", "c"]);
    assert_eq!(place.dropped("damaged"), 1);
}

#[tokio::test]
async fn what_can_not_be_read_now_waits_on_and_what_is_gone_is_counted() {
    let place = Place::new();
    let mut outbox = place.open(1 << 20).await;
    for body in ["a", "b"] {
        outbox.push(request(body)).await;
    }
    let file = place.directory.path().join("metrics").join(format!("{:020}.request", 0));
    let aside = place.directory.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    std::fs::create_dir(&file).unwrap(); // EISDIR
    for _ in 0..2 {
        assert!(outbox.take().await.is_err());
        assert_eq!(place.status.now().metrics.queued_requests, 2);
    }
    // What is in memory does not wait for it.
    let memory = Waiting { number: 2, size: 1, memory: Some(request("c")) };
    outbox.waiting.push_back(memory);
    assert_eq!(outbox.take().await.unwrap().unwrap().body(), "c");
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    let taken = outbox.take().await.unwrap().unwrap();
    assert_eq!(taken.body(), "a");
    outbox.back(taken).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(drain(&mut outbox).await, ["b"]);
    assert_eq!(place.dropped("gone"), 1);
}

#[tokio::test]
async fn where_the_disk_takes_none_requests_wait_in_memory_within_bounds() {
    let place = Place::new();
    std::fs::write(place.directory.path().join("metrics"), "no directory").unwrap();
    let mut outbox = place.open(1 << 30).await;
    let large = "x".repeat(1 << 20);
    for number in 0..8 {
        outbox.push(request(&format!("{number}{large}"))).await;
    }
    assert!(place.status.now().metrics.queued_bytes <= MEMORY);
    assert_eq!(place.dropped("queue_full"), 5);
    std::fs::remove_file(place.directory.path().join("metrics")).unwrap();
    outbox.push(request("8")).await;
    let firsts: Vec<_> = drain(&mut outbox).await.iter().map(|body| body[..1].to_owned()).collect();
    assert_eq!(firsts, ["5", "6", "7", "8"]);
}
