//! A client of the agent's streams.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::{Agent, wait_for};

/// A client of `/api/v1/stream`; it goes away when it is dropped.
pub struct Follow {
    connection: TcpStream,
    unread: Option<BufReader<TcpStream>>,
    lines: Arc<Mutex<Vec<Value>>>,
    ended: Arc<Mutex<bool>>,
}

impl Agent {
    /// Follows a stream; `query` is what stands behind `?`, with spaces as they are.
    pub fn follow(&self, query: &str) -> Follow {
        let mut follow = self.follow_without_reading(query);
        follow.read();
        follow
    }

    /// The same, but nothing is read yet beyond the head of the answer.
    pub fn follow_without_reading(&self, query: &str) -> Follow {
        let mut connection = TcpStream::connect(self.address()).unwrap();
        let query: String = query
            .chars()
            .map(|character| match character {
                ' ' | '%' | '\'' | '<' | '>' => format!("%{:02X}", u32::from(character)),
                other => other.to_string(),
            })
            .collect();
        // The answer to HTTP/1.0 comes as it is, without the lengths of its parts.
        write!(connection, "GET /api/v1/stream?{query} HTTP/1.0\r\n\r\n").unwrap();
        let mut unread = BufReader::new(connection.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(unread.read_line(&mut head).unwrap() > 0, "{head}");
        }
        assert!(head.starts_with("HTTP/1.0 200"), "{head}");
        assert!(head.contains("application/x-ndjson"), "{head}");
        Follow { connection, unread: Some(unread), lines: Arc::default(), ended: Arc::default() }
    }
}

impl Follow {
    /// Reads from now on.
    pub fn read(&mut self) {
        let Some(unread) = self.unread.take() else { return };
        let (lines, ended) = (self.lines.clone(), self.ended.clone());
        std::thread::spawn(move || {
            for line in unread.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lock().unwrap().push(line);
            }
            *ended.lock().unwrap() = true;
        });
    }

    /// What has come so far.
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until so many lines have come.
    pub fn at_least(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} lines"), || {
            let lines = self.lines();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits for the end of the answer; all that came.
    pub fn to_the_end(&self) -> Vec<Value> {
        wait_for("the end of the stream", || self.ended.lock().unwrap().then_some(()));
        self.lines()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.connection.shutdown(Shutdown::Both);
    }
}
