//! The agent under load by loopback: scrapes at a steady rate on kept connections, and WebSocket
//! clients, both at once. What is asked for is what is offered: a client that is late is late,
//! and its wait counts (no coordinated omission).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::table::{Figure, Row};
use crate::whole_agent::Agent;
use crate::{Effort, clock, memory};

const SCRAPES_PER_SECOND: u32 = 1_000;
/// Connections that share the scrapes.
const SCRAPERS: u32 = 16;
const SOCKETS: usize = 200;
const WINDOW: Duration = Duration::from_secs(10);
/// Streams that each WebSocket client follows, each second.
const TOPICS: &str =
    "metrics.cpu,metrics.cpu.cores,metrics.memory,metrics.network.interfaces,metrics.disk.devices";

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let agent = Agent::start("process");
    agent.settle(effort);
    let address = agent.address.strip_prefix("http://").unwrap().to_owned();
    let resident = |pid| memory::of(pid).resident as f64;
    let before = (resident(agent.pid()), agent.sum("missed_ticks"), agent.sum("rounds"));
    let page = Scraper::open(&address).scrape();
    let sockets: Vec<Socket> = (0..SOCKETS).map(|_| Socket::open(&address)).collect();
    std::thread::sleep(Duration::from_secs(2)); // the first frames, all at once, are through
    let frames = || sockets.iter().map(|one| one.frames.load(Ordering::Relaxed)).sum::<u64>();
    let (cpu, runners, frames_before) = (clock::of(agent.pid()), family(&agent), frames());
    let begun = Instant::now();
    let scrapers: Vec<JoinHandle<Vec<Duration>>> = (0..SCRAPERS)
        .map(|index| {
            let scraper = Scraper::open(&address);
            std::thread::spawn(move || scraper.run(begun, index))
        })
        .collect();
    let mut waits: Vec<Duration> =
        scrapers.into_iter().flat_map(|scraper| scraper.join().unwrap()).collect();
    let seconds = begun.elapsed().as_secs_f64();
    let (cpu, runners) = (clock::of(agent.pid()) - cpu, family(&agent) - runners);
    let frames = (frames() - frames_before) as f64;
    let after = (resident(agent.pid()), agent.sum("missed_ticks"), agent.sum("rounds"));
    let lost = lost(&agent);
    waits.sort();
    let at = |share: f64| {
        let index = (waits.len() as f64 * share) as usize;
        Figure::Milliseconds(waits[index.min(waits.len() - 1)].as_secs_f64() * 1e3)
    };
    let micros = |time: Duration| Figure::Microseconds(time.as_secs_f64() * 1e6 / seconds);
    let load = format!(
        "{SCRAPES_PER_SECOND} scrapes a second and {SOCKETS} WebSockets of 5 streams at 1 s"
    );
    let row = |what: &str, figure| Row::alone(format!("{load}: {what}"), figure);
    vec![
        row("scrapes done a second", Figure::Number((waits.len() as f64 / seconds).round())),
        row("KiB a scrape", Figure::Number((page / 1024) as f64)),
        row("wait for a scrape, p50", at(0.50)),
        row("wait for a scrape, p99", at(0.99)),
        row("wait for a scrape, most", at(1.0)),
        row("frames to WebSockets a second", Figure::Number((frames / seconds).round())),
        row("batches that WebSockets lost", Figure::Number(lost as f64)),
        row("CPU of the agent per second", micros(cpu)),
        row("CPU of its runners per second", micros(runners)),
        Row::new(
            format!("{load}: resident memory of the agent"),
            Figure::KiB(after.0),
            "before",
            Figure::KiB(before.0),
        ),
        row(
            &format!("of {} ticks, missed", after.2 - before.2),
            Figure::Number((after.1 - before.1) as f64),
        ),
    ]
}

/// CPU time of the agent's runners.
fn family(agent: &Agent) -> Duration {
    clock::children(agent.pid()).into_iter().map(clock::of).sum()
}

/// Batches that the WebSockets lost.
fn lost(agent: &Agent) -> u64 {
    let mut answer = ureq::get(format!("{}/api/v1/status", agent.address)).call().unwrap();
    let status: serde_json::Value =
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let all = status["bus"]["subscriptions"].as_array().unwrap().iter();
    let of_sockets = all.filter(|one| one["name"] == "websocket");
    let lost = of_sockets.map(|one| {
        let causes: BTreeMap<String, u64> = serde_json::from_value(one["lost"].clone()).unwrap();
        causes.values().sum::<u64>()
    });
    lost.sum()
}

/// A connection that is kept.
struct Scraper {
    connection: BufReader<TcpStream>,
    request: String,
}

impl Scraper {
    fn open(address: &str) -> Self {
        let connection = TcpStream::connect(address).unwrap();
        connection.set_nodelay(true).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
        Self { connection: BufReader::with_capacity(256 << 10, connection), request }
    }

    /// How long each waited, from when it was due.
    fn run(mut self, begun: Instant, index: u32) -> Vec<Duration> {
        let apart = Duration::from_secs(1) * SCRAPERS / SCRAPES_PER_SECOND;
        let mut due = begun + apart * index / SCRAPERS;
        let mut waits = Vec::new();
        while due < begun + WINDOW {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.scrape();
            waits.push(due.elapsed());
            due += apart;
        }
        waits
    }

    /// Bytes of the page.
    fn scrape(&mut self) -> usize {
        self.connection.get_mut().write_all(self.request.as_bytes()).unwrap();
        let (mut line, mut length) = (String::new(), 0);
        while line != "\r\n" {
            line.clear();
            self.connection.read_line(&mut line).unwrap();
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut page = vec![0; length];
        self.connection.read_exact(&mut page).unwrap();
        assert!(page.starts_with(b"# HELP"), "no page");
        length
    }
}

/// A WebSocket client that counts frames, and leaves when it is dropped.
struct Socket {
    connection: TcpStream,
    frames: Arc<AtomicU64>,
}

impl Socket {
    fn open(address: &str) -> Self {
        let connection = TcpStream::connect(address).unwrap();
        let frames = Arc::new(AtomicU64::new(0));
        write!(
            &connection,
            "GET /ws?topic={TOPICS}&every=1s HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        .unwrap();
        let (reader, counted) = (connection.try_clone().unwrap(), frames.clone());
        let read = move || count(BufReader::new(reader), &counted);
        std::thread::Builder::new().stack_size(64 << 10).spawn(read).unwrap();
        Self { connection, frames }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}

/// Counts frames of text (RFC 6455, section 5.2) until the connection ends.
fn count(mut connection: impl BufRead, frames: &AtomicU64) -> Option<()> {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line).ok()?;
    }
    loop {
        let mut head = [0; 2];
        connection.read_exact(&mut head).ok()?;
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                connection.read_exact(&mut length).ok()?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                connection.read_exact(&mut length).ok()?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        std::io::copy(&mut connection.by_ref().take(length), &mut std::io::sink()).ok()?;
        if head[0] & 0x0f == 1 {
            frames.fetch_add(1, Ordering::Relaxed);
        }
    }
}
