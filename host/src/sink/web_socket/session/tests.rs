//! How long a client may be silent, idle or stuck, by a clock that the tests drive.

use std::future::pending;

use tokio::sync::mpsc;

use super::*;
use crate::sink::asked::Asked;

/// The agent's end of a connection in which one frame is on its way at most.
struct Channel {
    from: mpsc::Receiver<Message>,
    to: mpsc::Sender<Message>,
}

impl Wire for Channel {
    async fn receive(&mut self) -> Option<Result<Message, Error>> {
        self.from.recv().await.map(Ok)
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.to.send(message).await.map_err(Error::new)
    }
}

/// The client's end.
struct Client {
    to: mpsc::Sender<Message>,
    from: mpsc::Receiver<Message>,
    begun: Instant,
}

/// A client that is being served, with a subscription or without.
fn serve(subscribed: bool) -> Client {
    let ((to, theirs), (ours, from)) = (mpsc::channel(1), mpsc::channel(1));
    let bus = Bus::new();
    let mut session = Session::new(Channel { from: theirs, to: ours }, bus.clone());
    if subscribed {
        session.add(FROM_ADDRESS, Asked::default().feed(&bus, &USUAL).unwrap());
    }
    tokio::spawn(session.serve(pending()));
    Client { to, from, begun: Instant::now() }
}

impl Client {
    /// Reads to the end; answers pings until so many seconds have gone by. Why and after how many
    /// seconds it ended.
    async fn read_on(&mut self, answering: u64) -> (Option<String>, u64) {
        let mut reason = None;
        while let Some(message) = self.from.recv().await {
            match message {
                Message::Ping(data) if self.seconds() < answering => {
                    let _ = self.to.send(Message::Pong(data)).await;
                }
                Message::Close(Some(frame)) => reason = Some(frame.reason.to_string()),
                _ => {}
            }
        }
        (reason, self.seconds())
    }

    fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_subscribes_to_nothing_is_let_go_after_a_minute() {
    let (reason, seconds) = serve(false).read_on(3600).await;
    assert_eq!(reason.as_deref(), Some("60 s without a subscription"));
    assert_eq!(seconds, 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_unsubscribes_may_think_for_a_minute() {
    let mut client = serve(true);
    tokio::time::sleep(Duration::from_secs(15)).await;
    client.to.send(Message::text(r#"{"unsubscribe":0}"#)).await.unwrap();
    let (reason, seconds) = client.read_on(3600).await;
    assert_eq!((reason.as_deref(), seconds), (Some("60 s without a subscription"), 75));
}

#[tokio::test(start_paused = true)]
async fn a_client_stays_for_as_long_as_it_answers_pings() {
    let (reason, seconds) = serve(true).read_on(600).await;
    assert_eq!(reason, None);
    assert!((640..=660).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_no_frame_for_half_a_minute_is_let_go() {
    let client = serve(true);
    // The first ping, at 20 s, fills the connection; the next, at 40 s, does not get through.
    while !client.to.is_closed() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((69..=71).contains(&client.seconds()), "{}", client.seconds());
}
