use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Value, json};

use crate::Scrape;
use crate::settings::Settings;

/// Answers one request with these bytes; gives what was asked.
fn endpoint(answer: Vec<u8>) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics?x=1", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(stream, &answer)
    });
    (url, serving)
}

/// The same for each request, as long as the tests run.
fn lasting_endpoint(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        listener.incoming().for_each(|stream| drop(serve(stream.unwrap(), &answer)));
    });
    url
}

fn serve(mut stream: TcpStream, answer: &[u8]) -> String {
    let mut asked = Vec::new();
    let mut part = [0; 4096];
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut part).unwrap();
        asked.extend_from_slice(&part[..length]);
    }
    let _ = stream.write_all(answer); // who asked may have had enough
    String::from_utf8(asked).unwrap().to_ascii_lowercase()
}

fn page(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn scrape(answer: Vec<u8>, more: Value) -> (Round, String) {
    let (url, serving) = endpoint(answer);
    let mut settings = json!({ "url": url });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let round = Harness::<Scrape>::new(settings).unwrap().collect().unwrap();
    (round, serving.join().unwrap())
}

fn series(round: &Round) -> Vec<String> {
    let shown = |row: &serde_json::Map<String, Value>| {
        format!("{}{{{}}}", row["metric"].as_str().unwrap(), row["labels"].as_str().unwrap())
    };
    round.rows("samples").iter().map(shown).collect()
}

#[test]
fn the_page_is_asked_for_and_read() {
    let more = json!({ "headers": { "X-Key": "secret" } });
    let (round, asked) = scrape(page("# TYPE a counter\na 1\n?\nb{x=\"y\"} 2\n"), more);
    assert_eq!(series(&round), ["a{}", "b{x=\"y\"}"]);
    assert_eq!(round.row("samples", "metric", "a")["total"], 1.0);
    let health = &round.rows("")[0];
    assert_eq!((&health["up"], &health["refused"]), (&json!(true), &json!(1)));
    assert_eq!((&health["sample_count"], &health["body_bytes"]), (&json!(2), &json!(34)));
    assert!(round.partial[0].contains("/metrics: line 3: no name"), "{round:?}");
    assert!(asked.starts_with("get /metrics?x=1 http/1.1\r\n"), "{asked}");
    for header in ["x-key: secret", "accept: text/plain;version=0.0.4,", "user-agent: dropsonde"] {
        assert!(asked.contains(header), "{header}: {asked}");
    }
}

#[test]
fn metrics_are_chosen_by_name_and_get_labels() {
    let body = "a_one{job=\"theirs\"} 1\na_two 2\nb_one 3\n";
    let more = json!({
        "include": ["a_*", "b_one"], "exclude": ["*_two"], "labels": { "job": "ours" }
    });
    let (round, _) = scrape(page(body), more);
    assert_eq!(
        series(&round),
        ["a_one{exported_job=\"theirs\",job=\"ours\"}", "b_one{job=\"ours\"}"]
    );
    assert_eq!(round.rows("")[0]["sample_count"], 3);
    assert_eq!(round.rows("")[0]["kept_count"], 2);
    let more = json!({ "labels": { "job": "ours" }, "honor_labels": true });
    let (round, _) = scrape(page(body), more);
    assert_eq!(
        series(&round),
        ["a_one{job=\"theirs\"}", "a_two{job=\"ours\"}", "b_one{job=\"ours\"}"]
    );
}

#[test]
fn where_nothing_can_be_read_there_are_no_samples_and_up_is_0() {
    let bad = |answer: Vec<u8>, more: Value| {
        let (round, _) = scrape(answer, more);
        assert_eq!((round.rows("samples").len(), round.partial.len()), (0, 1), "{round:?}");
        assert_eq!(round.rows("")[0]["up"], false);
        round.partial[0].clone()
    };
    let error = bad(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec(), json!({}));
    assert!(error.contains("http status: 503"), "{error}");
    let error = bad(page(&"a 1\n".repeat(50)), json!({ "max_body": 100 }));
    assert!(error.contains("larger than") || error.contains("limit"), "{error}");
    let cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n".to_vec();
    bad(cut_short, json!({}));
    bad(b"nonsense\r\n\r\n".to_vec(), json!({}));
    let answer = |status: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let error = bad(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), json!({}));
    assert!(error.ends_with("it answers with status 204, and a page comes with 200"), "{error}");
    let html = "Content-Type: Text/HTML; charset=utf-8\r\n";
    let error = bad(answer("200 OK", html, b"a 1\n"), json!({}));
    assert!(error.contains("its answer is text/html"), "{error}");
    let error = bad(answer("200 OK", "Content-Encoding: gzip\r\n", b"\x1f\x8b\n"), json!({}));
    assert!(error.contains("its answer is compressed (Content-Encoding)"), "{error}");
    for garbage in [b"<html>\n<body>hunter2</body>\n".as_slice(), b"\x1f\x8b\x00\xff\n"] {
        let error = bad(answer("200 OK", "", garbage), json!({}));
        assert!(error.contains("/metrics: line 1: ") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn nobody_is_asked_but_whom_the_settings_name() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = other.local_addr().unwrap();
    let moved =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n");
    let more = json!({ "headers": { "X-Api-Key": "secret" }, "timeout": "2s" });
    let (round, _) = scrape(moved.into_bytes(), more);
    let fault = "it answers with status 302, and a page comes with 200";
    assert!(round.partial[0].ends_with(fault), "{round:?}");
    assert_eq!(round.rows("")[0]["up"], false);
    other.set_nonblocking(true).unwrap();
    assert_eq!(other.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_page_that_is_empty_is_one() {
    for page in [page(""), page("# EOF"), page("a 1\n")] {
        let (round, _) = scrape(page, json!({ "exclude": ["a"] }));
        assert_eq!((round.rows("samples").len(), round.partial.len()), (0, 0), "{round:?}");
        assert_eq!(round.rows("")[0]["up"], true);
    }
}

#[test]
fn a_number_that_the_end_of_the_connection_cut_off_is_none() {
    let cut = b"HTTP/1.1 200 OK\r\n\r\na 1\nb NaN\nc 123".to_vec();
    let (round, _) = scrape(cut, json!({}));
    assert_eq!(series(&round), ["a{}", "b{}"]);
    let health = &round.rows("")[0];
    assert_eq!((&health["up"], &health["valueless_count"]), (&json!(true), &json!(1)));
    assert!(round.partial[0].ends_with("line 3: it does not end: the text was cut"), "{round:?}");
}

#[test]
fn one_that_does_not_answer_is_waited_for_no_longer_than_said() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let settings = json!({ "url": url, "timeout": "100ms" });
    let round = Harness::<Scrape>::new(settings).unwrap().collect().unwrap();
    assert!(round.partial[0].contains("timeout"), "{round:?}");
    let seconds = round.rows("")[0]["duration_seconds"].as_f64().unwrap();
    assert!((0.1..4.0).contains(&seconds), "{seconds}");
}

#[test]
fn settings_that_can_not_be_are_refused() {
    for (settings, reason) in [
        (json!({}), "missing field `url`"),
        (json!({ "url": "https://a/metrics" }), "TLS is not built in"),
        (json!({ "url": "a/metrics" }), "expected http://HOST:PORT/PATH"),
        (json!({ "url": "http://a/", "headers": { "a b": "c" } }), "the header `a b`"),
        (json!({ "url": "http://a/", "headers": { "a": "b\nc" } }), "the header `a`"),
        (json!({ "url": "http://a/", "labels": { "a-b": "c" } }), "no name of a label"),
    ] {
        let error = serde_json::from_value::<Settings>(settings.clone()).unwrap_err().to_string();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}

dropsonde_plugin_api::contract_test!(
    collector = Scrape,
    let url = lasting_endpoint(page("a 1\n")),
    settings = { "url": url },
    streams = "streams.txt",
);
