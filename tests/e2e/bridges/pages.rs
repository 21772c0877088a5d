//! Files of samples, and pages of others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;

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
