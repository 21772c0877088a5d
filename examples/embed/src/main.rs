//! Embeds the host. Two subscribers want the same stream at different rates; it is read once for
//! both.
//!
//! `embed PLUGIN-DIRECTORY [BATCHES] [TOPIC]`, for example `embed ../../target/release 20`.

use std::error::Error;
use std::time::Duration;

use dropsonde::{Builder, Sources, Subscribe};

fn main() -> Result<(), Box<dyn Error>> {
    dropsonde::enter_if_runner(); // first: runners are this same program, started again
    let mut arguments = std::env::args().skip(1);
    let plugins = arguments.next().ok_or("usage: embed PLUGIN-DIRECTORY [BATCHES] [TOPIC]")?;
    let batches = arguments.next().map_or(Ok(10), |count| count.parse())?;
    let topic = arguments.next().unwrap_or_else(|| "metrics.memory".to_owned());
    let sources = Sources {
        plugins: vec![plugins.into()],
        environment: Sources::process_environment(), // as DROPSONDE__SECTION__KEY
        ..Sources::default()
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(watch(sources, &topic, batches))
}

async fn watch(sources: Sources, topic: &str, batches: usize) -> Result<(), Box<dyn Error>> {
    let host = Builder::new(sources).start()?;
    let subscribe = |name: &str, interval: u64| {
        let interval = Duration::from_millis(interval);
        Subscribe::to(topic).map(|stream| host.subscribe(stream.named(name).every(interval)))
    };
    let mut fast = subscribe("fast", 200)?;
    let mut slow = subscribe("slow", 1000)?;
    for _ in 0..batches {
        tokio::select! {
            batch = fast.recv() => println!("fast {}", batch.json()),
            batch = slow.recv() => println!("slow {}", batch.json()),
            () = tokio::time::sleep(Duration::from_secs(30)) => {
                return Err(format!("nothing came for 30 s: {:?}", host.status()).into());
            }
        }
    }
    let bus = host.bus().clone();
    host.shutdown().await;
    let counts = bus.status();
    println!("reads of all streams {}", counts.reads);
    println!("reads saved {}", counts.reads_saved);
    for subscriber in counts.subscriptions {
        println!("{} got {}, lost {}", subscriber.name, subscriber.delivered, subscriber.lost.total());
        println!("{} left {}", subscriber.name, subscriber.waiting);
    }
    Ok(())
}
