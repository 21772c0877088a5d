//! The page is what Prometheus and its like take: shown by their own programs.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use dropsonde_tests::{Agent, BUNDLED, Options, fixture, is_installed, plugin, wait_for};
use serde_json::Value;
use tempfile::TempDir;

/// All that are online, whatever of them this process may use.
pub(crate) fn cores() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    stat.lines().filter(|line| line.starts_with("cpu")).count() - 1 // and all together
}

/// What `promtool check metrics` has to say of a page.
pub(crate) fn complaints(page: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.success(), text.is_empty(), "{}: {text}", output.status);
    text
}

#[test]
fn promtool_has_nothing_to_say_of_the_page() {
    if !is_installed("promtool") {
        return;
    }
    let faulty = |name: &str, interval: &str| {
        format!(
            "[collectors.{name}]\nplugin = \"faulty\"\ninterval = \"{interval}\"\n\
             [collectors.{name}.settings]\nfault = \"segfault\"\nround = 2\n"
        )
    };
    let config = format!(
        "[otlp]\nendpoint = \"http://127.0.0.1:9\"\ninterval = \"200ms\"\n\
         [restart]\ninitial = \"10ms\"\nlimit = 3\nwindow = \"1s\"\n{}{}",
        faulty("quarantined", "20ms"),
        faulty("crashed", "1s"),
    );
    let mut plugins: Vec<_> =
        BUNDLED.iter().map(|name| (plugin(name), format!("{name}.so"))).collect();
    plugins.push((fixture("faulty"), "faulty.so".into()));
    plugins.push((fixture("pulse"), "pulse.so".into()));
    let agent = Agent::with(Options { config, plugins, ..Options::default() });
    BUNDLED.iter().for_each(|name| drop(agent.running(name)));
    agent.until("quarantined", "quarantined", |now| now["phase"] == "quarantined");
    agent.until("crashed", "back after a crash", |now| now["restarts"].as_u64() > Some(0));
    // Shares come with the second read; nobody listens where it exports to.
    let page = wait_for("shares, and a failed export", || {
        let (code, page) = agent.page("/metrics");
        assert_eq!(code, 200);
        let all = ["system_cpu_utilization_ratio{", "dropsonde_otlp_failures_total{"];
        all.iter().all(|name| page.contains(name)).then_some(page)
    });
    assert_eq!(complaints(&page), "");
    assert!(
        page.contains(
            "dropsonde_collector_phase{collector=\"quarantined\",phase=\"quarantined\"} 1"
        )
    );
    assert!(page.contains("dropsonde_collector_last_error_info{collector=\"crashed\",error="));
    let wrong = page.replace("system_processes{", "system_processes_count{");
    assert_ne!(complaints(&wrong), "", "it would have complained");
}

/// A program that scrapes an agent each second, and answers queries. Ended with the test.
struct Scraper {
    child: Child,
    address: String,
    directory: TempDir,
}

impl Scraper {
    /// `arguments` are made of the configuration file, a directory for data, and the address to
    /// listen on.
    fn start(
        program: &str,
        target: &str,
        arguments: impl FnOnce(&str, &str, &str) -> Vec<String>,
    ) -> Self {
        let directory = TempDir::new().unwrap();
        let config = directory.path().join("scrape.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: dropsonde\n  \
             static_configs:\n  - targets: ['{target}']\n"
        );
        fs::write(&config, text).unwrap();
        let data = directory.path().join("data");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free.to_string();
        let arguments = arguments(config.to_str().unwrap(), data.to_str().unwrap(), &address);
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, address, directory }
    }

    /// The value of a query that gives one series; nothing while there is none.
    fn ask(&mut self, query: &str) -> Option<f64> {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "it ended: {}", self.log());
        let url = format!("http://{}/api/v1/query", self.address);
        let mut answer = ureq::get(url).query("query", query).call().ok()?; // not up yet
        let answer: Value = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        let series = answer["data"]["result"].as_array()?;
        assert!(series.len() < 2, "{query}: {answer:#}");
        series.first()?["value"][1].as_str()?.parse().ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- its log ---\n{}", self.log());
        }
    }
}

/// A sample of the agent's page.
fn sample(agent: &Agent, name: &str) -> f64 {
    let (_, page) = agent.page("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
    line.parse().unwrap()
}

/// The counter of `steady` is the time of day: whatever scrapes it must find a rate of 1.
fn scrapes(program: &str, arguments: impl FnOnce(&str, &str, &str) -> Vec<String>) {
    if !is_installed(program) {
        return;
    }
    let config = "[collectors.steady]\ninterval = \"50ms\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("steady_v1"), &plugin("cpu")]);
    agent.running("steady");
    agent.running("cpu");
    let mut scraper = Scraper::start(program, &agent.address(), arguments);
    wait_for("its first scrape", || scraper.ask("up").filter(|up| *up == 1.0));
    let counter = "dropsonde_steady_elapsed_seconds_total";
    let before = sample(&agent, counter);
    let seen = wait_for("the counter", || scraper.ask(counter).filter(|seen| *seen >= before));
    let after = sample(&agent, counter);
    assert!(seen <= after, "{seen} of {after}");
    let rate = format!("rate({counter}[10s])");
    wait_for("a rate of 1", || scraper.ask(&rate).filter(|rate| (0.9..1.1).contains(rate)));
    let cores = cores() as f64;
    let busy = "sum(rate(system_cpu_time_seconds_total[10s]))";
    wait_for("the time of all cores, all states together", || {
        scraper.ask(busy).filter(|time| (0.7 * cores..1.3 * cores).contains(time))
    });
}

#[test]
fn prometheus_scrapes_the_page_and_finds_values_and_rates() {
    scrapes("prometheus", |config, data, address| {
        vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={data}"),
            format!("--web.listen-address={address}"),
        ]
    });
}

#[test]
fn victoria_metrics_scrapes_the_page_and_finds_values_and_rates() {
    scrapes("victoria-metrics", |config, data, address| {
        vec![
            format!("-promscrape.config={config}"),
            format!("-storageDataPath={data}"),
            format!("-httpListenAddr={address}"),
            "-search.latencyOffset=1s".to_owned(), // otherwise nothing is seen for 30 s
        ]
    });
}
