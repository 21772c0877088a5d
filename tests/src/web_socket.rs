//! A WebSocket client of the agent.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

use crate::{Agent, PATIENCE};

/// A client of `/ws`.
pub struct Socket {
    socket: WebSocket<TcpStream>,
}

impl Agent {
    /// Opens `/ws` with what stands behind it, such as `?topic=metrics.cpu`.
    pub fn web_socket(&self, query: &str) -> Socket {
        self.try_web_socket(query, &[]).unwrap_or_else(|(code, body)| panic!("{code}: {body}"))
    }

    /// The same with headers of its own; the code and the body of a refusal.
    pub fn try_web_socket(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, (u16, String)> {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = tungstenite::http::Request::builder()
            .uri(format!("ws://{}/ws{query}", self.address()))
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key());
        let host = headers.iter().all(|(name, _)| *name != "host");
        if host {
            request = request.header("host", self.address());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match tungstenite::client(request.body(()).unwrap(), stream) {
            Ok((socket, _)) => Ok(Socket { socket }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(other) => panic!("{other}"),
        }
    }
}

impl Socket {
    pub fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string()));
    }

    pub fn send(&mut self, message: Message) {
        self.socket.send(message).unwrap();
    }

    /// The next frame that is not about whether somebody is there.
    #[track_caller]
    pub fn frame(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame that `is` wants; those before it are passed over.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let frame = self.frame();
            if is(&frame) {
                return frame;
            }
        }
        panic!("no frame was {what}");
    }

    /// All frames of so long.
    pub fn during(&mut self, time: Duration) -> Vec<Value> {
        let (start, mut frames) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            frames.push(self.frame());
        }
        frames
    }

    /// Reads to the end: the frame that closed it, if one came.
    pub fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => return frame,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
