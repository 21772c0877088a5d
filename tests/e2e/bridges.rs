//! Bridges to what people already have: commands, `.prom` files and Prometheus endpoints, as
//! collectors of the plugins `exec`, `textfile` and `scrape`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dropsonde_tests::{Agent, Options, binary, is_running, plugin, wait_for};
use serde_json::Value;

use crate::prometheus::{complaints, is_installed};

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
    let rate = wait_for("a rate", || {
        let snapshot = agent.snapshot();
        let jobs = &snapshot["jobs"]["samples"]["jobs_total"]["queue=\"in\""];
        jobs["total_per_sec"].as_f64()
    });
    assert!((0.5e9..2e9).contains(&rate), "{rate}");
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

#[test]
fn what_a_command_does_wrong_is_said_and_bounded() {
    let config = [
        shell(
            "slow",
            "echo $$ > $STATE_DIRECTORY/pid; echo 'a 1'; sleep 300",
            "timeout = \"200ms\"",
        ),
        shell("loud", "yes 'a 1'", "max_output = \"64KiB\""),
        shell("sick", "echo 'a 1'; echo 'disk on fire' >&2; exit 7", ""),
        shell("odd", "echo 'good 1'; echo '!'; head -c 100 /dev/urandom; echo; echo 'fine 2'", ""),
        "[collectors.none]\nplugin = \"exec\"\n[collectors.none.settings]\ncommand = [\"/no/x\"]\n"
            .to_owned(),
        shell_in("allow = []", "denied", "echo 'a 1'", ""),
        shell("writes", "echo x > /tmp/dropsonde-must-not-be && echo 'a 1'", ""),
    ];
    let agent = agent(&config.concat(), &["exec"]);
    fails(&agent, "slow", "took longer than 200ms, and was killed");
    fails(&agent, "loud", "wrote more than 64 KiB, and was killed");
    fails(
        &agent,
        "sick",
        "ended with exit status: 7; the log has what it wrote to its standard error",
    );
    fails(&agent, "odd", "line 2: no name of a metric");
    fails(&agent, "none", "`/no/x` can't be started: No such file");
    let denied = fails(&agent, "denied", "can't be started: Operation not permitted");
    assert!(denied["last_error"].as_str().unwrap().contains("allow = [\"exec\"]"), "{denied}");
    agent.logged("standard error: disk on fire");
    let page = has_line(&agent, "dropsonde_exec_exit_code{collector=\"sick\"} 7");
    assert!(!page.lines().any(|line| line.starts_with("a{")), "{page}");
    for line in [
        "good{collector=\"odd\"} 1",
        "fine{collector=\"odd\"} 2",
        "dropsonde_exec_up{collector=\"sick\"} 0",
    ] {
        has_line(&agent, line);
    }
    let denied = &agent.collector("writes").unwrap()["sandbox"]["in_force"];
    if denied.to_string().contains("writes only to its state directory") {
        fails(&agent, "writes", "ended with exit status: 2; the log has what it wrote");
        agent.logged("cannot create /tmp/dropsonde-must-not-be: Permission denied");
        assert!(!Path::new("/tmp/dropsonde-must-not-be").exists());
    }
    // Nobody is restarted for what a command does.
    for name in ["slow", "loud", "sick", "odd", "none", "denied"] {
        assert_eq!(agent.collector(name).unwrap()["restarts"], 0, "{name}");
    }
    let first = pid_of(&agent, "slow", "pid");
    wait_for("the next run", || (pid_of(&agent, "slow", "pid") != first).then_some(()));
    ends(first);
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

#[test]
fn a_command_beyond_its_deadline_is_no_fault_of_the_others() {
    let endless = "timeout = \"5min\"";
    let config = [
        shell_in("deadline = \"300ms\"", "a", "sleep 302", endless),
        shell_in("deadline = \"300ms\"", "b", "sleep 302", endless),
        shell("well", "echo 'a 1'", ""),
    ];
    let agent = agent(&config.concat(), &["exec"]);
    has_line(&agent, "a{collector=\"well\"} 1");
    for name in ["a", "b"] {
        agent.until(name, "late", |now| now["failures"]["deadline"].as_u64() > Some(0));
    }
    assert_eq!(agent.running("well")["restarts"], 0);
    assert_eq!(agent.plugin("libdropsonde_exec.so").unwrap()["rejections"], 0);
}

#[test]
fn of_a_long_lived_command_the_last_block_is_shown_and_it_is_started_again() {
    let script = "echo $$ > $STATE_DIRECTORY/pid; i=0; while :; do i=$((i + 1)); \
                  printf 'blocks %s\\n\\n' $i; echo 'incomplete 1'; sleep 0.05; done";
    let agent = agent(&shell("lasting", script, "mode = \"stream\""), &["exec"]);
    let blocks = || {
        let (page, start) = (metrics(&agent), "blocks{collector=\"lasting\"} ");
        page.lines().find_map(|line| line.strip_prefix(start)?.parse::<u64>().ok())
    };
    let first = wait_for("a block", blocks);
    wait_for("a later one", || blocks().filter(|now| *now > first + 20));
    let before = pid_of(&agent, "lasting", "pid");
    let killed = std::process::Command::new("kill").args(["-9", &before.to_string()]).status();
    assert!(killed.unwrap().success());
    fails(&agent, "lasting", "ended with signal: 9 (SIGKILL); it is started again in 1s");
    wait_for("no values meanwhile", || blocks().is_none().then_some(()));
    wait_for("values of the next", blocks);
    assert_ne!(pid_of(&agent, "lasting", "pid"), before);
    has_line(&agent, "dropsonde_exec_restarts_total{collector=\"lasting\"} 1");
    assert_eq!(agent.collector("lasting").unwrap()["restarts"], 0, "the runner went on");
}

/// Commands that are at work, and what they have started: all are killed with the agent, and when
/// their collector ends.
#[test]
fn nothing_that_a_command_started_outlives_its_collector_or_a_killed_agent() {
    let script =
        "sleep 301 & echo $! > $STATE_DIRECTORY/child; echo $$ > $STATE_DIRECTORY/pid; wait";
    // The trial is of the first by name, and waits for its round.
    let config = [
        shell("disabled", script, "mode = \"stream\""),
        shell_in("deadline = \"10min\"", "round", script, "timeout = \"5min\""),
        shell("stream", script, "mode = \"stream\""),
        shell_in("isolation = \"thread\"", "thread", script, "mode = \"stream\""),
    ];
    let mut agent = agent(&config.concat(), &["exec"]);
    let both = |name| ["pid", "child"].map(|file| pid_of(&agent, name, file));
    let stopped = both("disabled");
    let left = ["round", "stream", "thread"].map(both).concat();
    assert!(left.iter().chain(&stopped).all(|pid| is_running(*pid)));
    agent.told(&["disable", "disabled"]);
    stopped.into_iter().for_each(ends);
    assert!(left.iter().all(|pid| is_running(*pid)));
    agent.signal("KILL");
    wait_for("the agent's end", || (!agent.is_alive()).then_some(()));
    left.into_iter().for_each(ends);
}

#[test]
fn files_are_shown_while_they_are_fresh() {
    let config = "[collectors.cron]\nplugin = \"textfile\"\n[collectors.cron.settings]\n\
                  directory = \"{root}/cron\"\nmax_age = \"1h\"\n\
                  [collectors.other]\nplugin = \"textfile\"\n[collectors.other.settings]\n\
                  directory = \"{root}/other\"\n";
    let agent = agent(config, &["textfile"]);
    let (cron, other) = (agent.root().join("cron"), agent.root().join("other"));
    fails(&agent, "cron", "cron: No such file or directory");
    fs::create_dir_all(&cron).unwrap();
    fs::create_dir_all(&other).unwrap();
    let put = |directory: &Path, name: &str, text: &str| {
        fs::write(directory.join("temporary"), text).unwrap();
        fs::rename(directory.join("temporary"), directory.join(name)).unwrap();
    };
    let backup = "# HELP backup_bytes Size.\n# TYPE backup_bytes gauge\nbackup_bytes{of=\"db\"} ";
    put(&cron, "backup.prom", &format!("{backup}5\n"));
    put(&other, "other.prom", "# HELP other_ok Well.\n# TYPE other_ok gauge\nother_ok 1\n");
    has_line(&agent, "other_ok{collector=\"other\"} 1");
    let page = has_line(&agent, "backup_bytes{collector=\"cron\",of=\"db\"} 5");
    let path = cron.join("backup.prom").display().to_string();
    assert!(
        page.contains(&format!(
            "node_textfile_mtime_seconds{{collector=\"cron\",file=\"{path}\"}} "
        ))
    );
    well_formed(&page);
    put(&cron, "backup.prom", &format!("{backup}6\n"));
    has_line(&agent, "backup_bytes{collector=\"cron\",of=\"db\"} 6");
    has_line(&agent, "node_textfile_scrape_error{collector=\"cron\"} 0");

    let old = SystemTime::now() - Duration::from_secs(4000);
    fs::File::open(cron.join("backup.prom")).unwrap().set_modified(old).unwrap();
    fails(&agent, "cron", "backup.prom: was not written for 4000 s, and `max_age` is 1h");
    let page = has_line(&agent, "node_textfile_scrape_error{collector=\"cron\"} 1");
    assert!(
        !page.contains("backup_bytes") && page.contains("other_ok{collector=\"other\"} 1"),
        "{page}"
    );
    put(&cron, "backup.prom", &format!("{backup}7\nnonsense\n"));
    has_line(&agent, "backup_bytes{collector=\"cron\",of=\"db\"} 7");
    fails(&agent, "cron", "backup.prom: line 4: a value is missing");
    fs::remove_file(cron.join("backup.prom")).unwrap();
    wait_for("their end", || (!metrics(&agent).contains("backup_bytes")).then_some(()));
    agent.until("cron", "well again", |now| now["phase"] == "running");
}

/// The series on a page: names and labels.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// A series as the agent that scrapes `peer` shows it.
fn of_peer(series: &str) -> String {
    let (name, labels) =
        series.strip_suffix('}').map_or((series, ""), |series| series.split_once('{').unwrap());
    let labels = labels.replace("collector=\"", "exported_collector=\"");
    let mut labels: Vec<&str> = labels.split_inclusive("\",").collect();
    labels.push("collector=\"peer\"");
    let mut labels: Vec<&str> = labels.iter().map(|label| label.trim_end_matches(',')).collect();
    labels.retain(|label| !label.is_empty());
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

#[test]
fn the_whole_page_of_another_agent_comes_through() {
    let peer = agent("", &["cpu", "memory", "network"]);
    ["cpu", "memory", "network"].iter().for_each(|name| drop(peer.running(name)));
    let config = format!(
        "[collectors.peer]\nplugin = \"scrape\"\n[collectors.peer.settings]\n\
         url = \"http://{0}/metrics\"\n\
         [collectors.part]\nplugin = \"scrape\"\n[collectors.part.settings]\n\
         url = \"http://{0}/metrics\"\ninclude = [\"system_memory_*\"]\nlabels = {{ job = \"x\" }}\n",
        peer.address()
    );
    let config = format!(
        "{config}[collectors.denied]\nplugin = \"scrape\"\nallow = []\n\
         [collectors.denied.settings]\nurl = \"http://{}/metrics\"\n",
        peer.address()
    );
    wait_for("shares", || metrics(&peer).contains("system_cpu_utilization_ratio").then_some(()));
    let agent = agent(&config, &["scrape", "cpu"]);
    ["peer", "part", "cpu"].iter().for_each(|name| drop(agent.running(name)));
    fails(&agent, "denied", "the sandbox lets the network be reached with `allow = [\"network\"]`");
    let missing = |theirs: &BTreeSet<String>, ours: &BTreeSet<String>| -> Vec<String> {
        theirs.iter().filter(|series| !ours.contains(&of_peer(series))).cloned().collect()
    };
    let (page, before) = wait_for("all series", || {
        let before = series(&metrics(&peer));
        let sequence = |agent: &Agent| agent.collector("peer").unwrap()["batches"].clone();
        let read = sequence(&agent);
        wait_for("the next read", || (sequence(&agent) != read).then_some(()));
        let page = metrics(&agent);
        missing(&before, &series(&page)).is_empty().then_some((page, before))
    });
    assert!(before.len() > 150, "{}", before.len());
    let types = metrics(&peer);
    for line in types.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(page.contains(line), "{line}");
    }
    for line in [
        "dropsonde_collector_generation{collector=\"peer\",exported_collector=\"memory\"} 1",
        "dropsonde_collector_generation{collector=\"peer\"} 1",
        "dropsonde_scrape_up{collector=\"peer\"} 1",
        "dropsonde_unfit_samples{collector=\"peer\"} 0",
        "dropsonde_duplicate_samples{collector=\"peer\"} 0",
    ] {
        assert!(page.lines().any(|other| other == line), "{line}: {page}");
    }
    let parts = series(&page).into_iter().filter(|series| series.contains("job=\"x\"")).count();
    assert!(parts > 2 && !page.contains("system_cpu_time_seconds_total{job"), "{parts}");
    well_formed(&page);
    // Gone, it is said so, and nothing is shown that is not so any more.
    let address = peer.address();
    drop(peer);
    has_line(&agent, "dropsonde_scrape_up{collector=\"peer\"} 0");
    fails(&agent, "peer", &format!("http://{address}/metrics: "));
    wait_for("the end of its series", || {
        (!metrics(&agent).contains("exported_collector=\"memory\"")).then_some(())
    });
}

#[test]
fn what_a_bridge_brings_makes_no_page_wrong_and_it_is_said_what_is_left_out() {
    let script = "echo '# HELP req Requests.'; echo '# TYPE req histogram'; \
                  echo 'req_bucket{le=\"1s\"} 1'; echo '# HELP good Well.'; \
                  echo '# TYPE good gauge'; echo 'good 1'; \
                  echo '# TYPE dropsonde_duplicate_samples counter'; \
                  echo 'dropsonde_duplicate_samples 1'";
    let odd = shell("odd", script, "");
    let agent = agent(&odd, &["exec", "scrape"]);
    has_line(&agent, "good{collector=\"odd\"} 1");
    let page = has_line(&agent, "dropsonde_duplicate_samples{collector=\"odd\"} 0");
    // One of the two the plugin may refuse by itself.
    let unfit = |name: &str| {
        let start = format!("dropsonde_unfit_samples{{collector=\"{name}\"}} ");
        let page = metrics(&agent);
        page.lines().find_map(|line| line.strip_prefix(&start)?.parse::<u64>().ok())
    };
    assert!(unfit("odd").is_some_and(|unfit| unfit > 0), "{page}");
    well_formed(&page);
    agent.logged("left out of /metrics, the first `");

    // Its own page does not come back, however often it is read.
    agent.configure(&format!(
        "{HEAD}{odd}[collectors.own]\nplugin = \"scrape\"\n[collectors.own.settings]\n\
         url = \"http://{}/metrics\"\n",
        agent.address()
    ));
    agent.running("own");
    wait_for("its own page", || unfit("own").filter(|unfit| *unfit > 50));
    agent.logged("it is of this agent's own page");
    let batches = || agent.collector("own").unwrap()["batches"].as_u64().unwrap();
    let before = (batches(), series(&metrics(&agent)).len());
    wait_for("reads", || (batches() > before.0 + 10).then_some(()));
    let page = metrics(&agent);
    assert!(!page.contains("exported_"), "{page}");
    assert!(series(&page).len() < before.1 + 20, "{} {page}", before.1);
    well_formed(&page);
}
