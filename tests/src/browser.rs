//! A real Chromium without a window, driven by ChromeDriver (W3C WebDriver, and Chrome's own
//! DevTools commands through it).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{PATIENCE, skipped, target_dir};

/// It looks nothing up, and draws without a graphics card; as root it needs `--no-sandbox`.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
];

/// A browser with one page and a profile of its own.
pub struct Browser {
    driver: Child,
    session: String,
    client: ureq::Agent,
    _profile: TempDir,
}

impl Browser {
    /// `None`, and a line that says so, where there is no Chromium or no ChromeDriver.
    pub fn start() -> Option<Self> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut driver) = driver else {
            skipped("chromedriver is not installed, so no browser looks at the page");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop)); // a full pipe would hold it up
        let client = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let profile = tempfile::tempdir().unwrap();
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let port = port.expect("chromedriver says its port");
        let base = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, session: base, client, _profile: profile };
        let options = json!({ "args": arguments });
        let capabilities =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let made = browser.post("", &json!({ "capabilities": { "alwaysMatch": capabilities } }));
        browser.session += "/";
        browser.session += made["sessionId"].as_str().expect("a session");
        Some(browser)
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.client.post(format!("{}{path}", self.session)).send(body.to_string());
        let text = answer.unwrap().body_mut().with_config().limit(1 << 26).read_to_string();
        let answer: Value = serde_json::from_str(&text.unwrap()).unwrap();
        let value = &answer["value"];
        assert!(value["error"].is_null(), "{path}: {} {}", value["error"], value["message"]);
        value.clone()
    }

    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// The value of an expression in the page, such as `document.title`.
    #[track_caller]
    pub fn value(&self, expression: &str) -> Value {
        let script = format!("return ({expression})");
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression has a value that is neither null nor false nor empty.
    #[track_caller]
    pub fn until(&self, what: &str, expression: &str) -> Value {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let value = self.value(expression);
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != "" {
                return value;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let page = self.value("document.body.innerText");
        panic!("waited {PATIENCE:?} in vain for {what}; the page: {}", page.as_str().unwrap());
    }

    /// Clicks as a person does: what lies over the element would get the click.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// A command of the DevTools protocol.
    #[track_caller]
    fn command(&self, name: &str, parameters: &Value) {
        self.post("/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }));
    }

    /// The page is so wide, in pixels of CSS, and on a phone if that is narrow.
    pub fn width(&self, width: u32) {
        let metrics =
            json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// What the system is said to prefer.
    pub fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Keeps a picture as `target/screenshots/NAME.png`: of the page from its top to its end, or
    /// of what is in the window.
    pub fn screenshot(&self, name: &str, whole: bool) -> PathBuf {
        let parameters = json!({ "captureBeyondViewport": whole });
        let command = json!({ "cmd": "Page.captureScreenshot", "params": parameters });
        let taken = self.post("/goog/cdp/execute", &command);
        let bytes = STANDARD.decode(taken["data"].as_str().unwrap()).unwrap();
        let directory = target_dir().join("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{name}.png"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What the page complained of on its console since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().unwrap().iter();
        let bad = lines.filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING");
        bad.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.client.delete(&self.session).call(); // the browser ends
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
