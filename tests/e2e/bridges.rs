//! Bridges to what people already have: commands, `.prom` files and Prometheus endpoints, as
//! collectors of the plugins `exec`, `textfile` and `scrape`.

mod commands;
mod pages;

use std::fs;

use dropsonde_tests::{Agent, Options, binary, is_installed, is_running, plugin, wait_for};
use serde_json::Value;

use crate::prometheus::complaints;

/// `allow` is for the agent of a test alone: what its commands write is in its own directory.
const HEAD: &str = "[defaults]\ninterval = \"100ms\"\nallow = [\"exec\", \"network\"]\n\
                    [restart]\ninitial = \"50ms\"\n";

/// A collector of `exec` that runs a script of the shell, with these settings besides.
fn shell(name: &str, script: &str, settings: &str) -> String {
    shell_in("", name, script, settings)
}

/// The same, with something in the collector's own table.
fn shell_in(table: &str, name: &str, script: &str, settings: &str) -> String {
    format!(
        "[collectors.{name}]\nplugin = \"exec\"\n{table}\n[collectors.{name}.settings]\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''']\n{settings}\n"
    )
}

fn agent(config: &str, plugins: &[&str]) -> Agent {
    let named = |name: &&str| (plugin(name), format!("libdropsonde_{name}.so"));
    let plugins = plugins.iter().map(named).collect();
    Agent::with(Options { config: format!("{HEAD}{config}"), plugins, ..Options::default() })
}

fn metrics(agent: &Agent) -> String {
    let (code, page) = agent.page("/metrics");
    assert_eq!(code, 200);
    page
}

/// Waits for a line of the page.
#[track_caller]
fn has_line(agent: &Agent, line: &str) -> String {
    wait_for(line, || {
        let page = metrics(agent);
        page.lines().any(|other| other == line).then_some(page)
    })
}

#[track_caller]
fn well_formed(page: &str) {
    if is_installed("promtool") {
        assert_eq!(complaints(page), "", "{page}");
    }
}

/// Waits until a collector says so of its last failure.
#[track_caller]
fn fails(agent: &Agent, name: &str, with: &str) -> Value {
    agent.until(name, with, |now| {
        now["last_error"].as_str().is_some_and(|error| error.contains(with))
    })
}

/// The process whose number a command wrote into its state directory.
#[track_caller]
fn pid_of(agent: &Agent, name: &str, file: &str) -> u32 {
    let path = agent.root().join(format!("state/collectors/{name}/{file}"));
    wait_for(&format!("{}", path.display()), || fs::read_to_string(&path).ok()?.trim().parse().ok())
}

#[track_caller]
fn ends(pid: u32) {
    wait_for(&format!("the end of {pid}"), || (!is_running(pid)).then_some(()));
}

#[test]
fn commands_are_shown_by_the_names_of_what_they_write_and_each_for_itself() {
    let prometheus = "echo '# HELP jobs_total Jobs done.'; echo '# TYPE jobs_total counter'; \
                      echo \"jobs_total{queue=\\\"in\\\"} $(date +%s%N)\"; echo '# TYPE \
                      wait_seconds histogram'; echo 'wait_seconds_bucket{le=\"1\"} 2'; \
                      echo 'wait_seconds_bucket{le=\"+Inf\"} 3'; echo 'wait_seconds_sum 4.5'; \
                      echo 'wait_seconds_count 3'; echo 'shared{x=\"1\"} 1'";
    let influx = "echo 'pool,name=a size=4i,busy=0.5,note=\"text\" 1'";
    let json = "echo '{\"queue\": {\"length\": 7, \"open\": true}}'; echo 1 > $STATE_DIRECTORY/x";
    let threads = "echo 'shared{x=\"1\"} 2'; echo 'shared{x=\"2\"} 3'";
    let config = [
        shell("jobs", prometheus, ""),
        shell("pools", influx, "format = \"influx\""),
        shell("queues", json, "format = \"json\"\nprefix = \"my_\""),
        shell_in("isolation = \"thread\"", "threads", threads, ""),
    ];
    let agent = agent(&config.concat(), &["exec"]);
    ["jobs", "pools", "queues", "threads"].iter().for_each(|name| drop(agent.running(name)));
    for line in [
        "# HELP jobs_total Jobs done.",
        "# TYPE jobs_total counter",
        "# TYPE wait_seconds histogram",
        // Each says whose it is.
        "wait_seconds_bucket{collector=\"jobs\",le=\"1\"} 2",
        "wait_seconds_bucket{collector=\"jobs\",le=\"+Inf\"} 3",
        "wait_seconds_sum{collector=\"jobs\"} 4.5",
        "wait_seconds_count{collector=\"jobs\"} 3",
        "pool_size{collector=\"pools\",name=\"a\"} 4",
        "pool_busy{collector=\"pools\",name=\"a\"} 0.5",
        "my_queue_length{collector=\"queues\"} 7",
        "my_queue_open{collector=\"queues\"} 1",
        "shared{collector=\"jobs\",x=\"1\"} 1",
        "shared{collector=\"threads\",x=\"1\"} 2",
        "shared{collector=\"threads\",x=\"2\"} 3",
        "dropsonde_exec_up{collector=\"pools\"} 1",
        "dropsonde_exec_samples{collector=\"pools\"} 2",
    ] {
        has_line(&agent, line);
    }
    let page = metrics(&agent);
    assert!(!page.contains("_samples_total{") && !page.contains("note"), "{page}");
    // Lint of promtool that names of the test deserve: without a description, and a word.
    let deserved = |line: &&str| !line.contains("no help text") && !line.contains("base unit");
    if is_installed("promtool") {
        let complaints = complaints(&page);
        assert_eq!(complaints.lines().filter(deserved).collect::<Vec<_>>(), [""; 0]);
    }
    // What counts up has a rate, here and in SQL.
    wait_for("a rate of a second's nanoseconds", || {
        let snapshot = agent.snapshot();
        let jobs = &snapshot["jobs"]["samples"]["jobs_total"]["queue=\"in\""];
        jobs["total_per_sec"].as_f64().filter(|rate| (0.5e9..2e9).contains(rate))
    });
    let explained = agent.told(&["explain", "pool_size"]);
    assert!(explained.starts_with("pool_size{name=\"a\"} 4 [untyped]\n"), "{explained}");
    assert!(explained.contains("pools.samples"), "{explained}");
    let query = "select value from pools_samples where metric = 'pool_size'";
    assert!(agent.told(&["query", query]).contains('4'));
}

#[test]
fn a_bridge_that_was_not_told_what_to_bridge_is_there_and_not_started() {
    let bridges = ["exec", "textfile", "scrape"];
    let mut agent = agent("", &["exec", "textfile", "scrape", "memory"]);
    agent.running("memory");
    for (bridge, key) in bridges.iter().zip(["command", "directory", "url"]) {
        let file = wait_for(bridge, || {
            agent
                .plugin(&format!("libdropsonde_{bridge}.so"))
                .filter(|now| now["state"] == "admitted")
        });
        assert_eq!(file["lacks"], format!("missing field `{key}`"));
        assert!(agent.collector(bridge).is_none());
        let told = agent.told(&["list"]);
        let remark = format!(
            "not configured: missing field `{key}`; set it in [collectors.{bridge}.settings]"
        );
        assert!(told.contains(&remark), "{told}");
    }
    assert_eq!(agent.page("/readyz").0, 200);
    let troubled = |line: &&String| line.contains(" WARN ") || line.contains(" ERROR ");
    assert_eq!(agent.log().iter().find(troubled), None);
    // Told what to run, it runs; no longer told, it does not.
    let memory = |agent: &Agent| agent.collector("memory").unwrap()["restarts"].clone();
    agent.configure(&format!("{HEAD}{}", shell("exec", "echo 'a 1'", "")));
    agent.running("exec");
    has_line(&agent, "a{collector=\"exec\"} 1");
    agent.configure(HEAD);
    wait_for("its end", || agent.collector("exec").is_none().then_some(()));
    // Started with a collector of it, it is not known what it lacks; it is found out.
    agent.configure(&format!("{HEAD}{}", shell("other", "echo 'a 1'", "")));
    agent.put("libdropsonde_exec.so", &fs::read(plugin("exec")).unwrap());
    agent.running("other");
    agent.configure(HEAD);
    wait_for("its end", || agent.collector("other").is_none().then_some(()));
    agent.logged("is not started by itself: missing field `command`");
    assert!(agent.collector("exec").is_none() && memory(&agent) == 0);
    assert!(agent.is_alive());
}

#[test]
fn one_look_at_the_machine_is_not_troubled_by_bridges() {
    let directory = tempfile::TempDir::new().unwrap();
    for name in ["exec", "textfile", "scrape", "memory"] {
        let file = format!("libdropsonde_{name}.so");
        fs::copy(plugin(name), directory.path().join(file)).unwrap();
    }
    let output = std::process::Command::new(binary())
        .args(["run", "--once", "--wait", "10ms", "--plugins"])
        .arg(directory.path())
        .env("DROPSONDE__HOST__RUNTIME_DIR", directory.path())
        .env("DROPSONDE__HOST__STATE_DIR", directory.path())
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    assert!(!complaint.contains("WARN") && !complaint.contains("ERROR"), "{complaint}");
    let snapshot: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: Vec<&String> = snapshot.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["timestamp", "memory"]);
}

/// Over HTTP anybody may ask; `dropsonde log` is for who may read the control socket.
#[test]
fn what_is_refused_is_shown_by_place_over_http_and_by_text_in_the_log_alone() {
    let config = [
        shell("told", "echo 'postgres://admin:hunter2@db' >&2; exit 3", ""),
        shell("wrote", "echo 'a 1'; echo 'password=hunter2'", ""),
        shell("garbage", "echo '<html>hunter2</html>'; printf 'a 123'", ""),
        "[collectors.files]\nplugin = \"textfile\"\n[collectors.files.settings]\n\
         directory = \"{root}/files\"\n"
            .to_owned(),
    ];
    let agent = agent(&config.concat(), &["exec", "textfile"]);
    let files = agent.root().join("files");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("shadow"), "root:$6$hunter2:19000:0:::::\n").unwrap();
    std::os::unix::fs::symlink("shadow", files.join("a.prom")).unwrap();
    for (name, fault) in [
        ("told", "`/bin/sh` ended with exit status: 3; the log has what it wrote"),
        ("wrote", "`/bin/sh`: line 2: no name of a metric"),
        ("garbage", "line 1: no name of a metric"),
        ("files", "a.prom: line 1: no name of a metric"),
    ] {
        fails(&agent, name, fault);
        wait_for(name, || agent.told(&["log", name]).contains("hunter2").then_some(()));
    }
    fails(&agent, "garbage", "line 2: it does not end: the text was cut");
    for (name, up) in [("told", 0), ("wrote", 1), ("garbage", 0)] {
        has_line(&agent, &format!("dropsonde_exec_up{{collector=\"{name}\"}} {up}"));
    }
    for page in ["/metrics", "/api/v1/collectors", "/api/v1/snapshot"] {
        let (code, text) = agent.page(page);
        assert!(code == 200 && !text.contains("hunter2"), "{page}: {code}: {text}");
    }
}
