//! The page `/`, looked at in a real browser.

use dropsonde_tests::{Agent, BUNDLED, Browser, Options, fixture, plugin};

/// What a part of the page says, as an expression.
fn text(selector: &str) -> String {
    format!("document.querySelector(\"{selector}\")?.innerText")
}

/// What the row of a collector says.
fn row(collector: &str) -> String {
    text(&format!("[data-collector={collector}]"))
}

/// Whether a part of the page says something.
fn says(part: &str, what: &str) -> String {
    format!("{part}?.includes('{what}')")
}

/// What the chart of a panel shows, in words.
fn label(panel: &str) -> String {
    format!("document.querySelector('#{panel} canvas').getAttribute('aria-label')")
}

/// How many points of a chart have a colour: those of its lines.
fn drawn(panel: &str) -> String {
    format!(
        "((chart) => {{
           const copy = new OffscreenCanvas(chart.width, chart.height);
           const pen = copy.getContext('2d', {{ willReadFrequently: true }});
           pen.drawImage(chart, 0, 0);
           const {{ data }} = pen.getImageData(0, 0, chart.width, chart.height);
           let coloured = 0;
           for (let at = 0; at < data.length; at += 4) {{
             const colours = data.slice(at, at + 3);
             const spread = Math.max(...colours) - Math.min(...colours);
             if (data[at + 3] > 128 && spread > 60) coloured += 1;
           }}
           return coloured;
         }})(document.querySelector('#{panel} canvas'))"
    )
}

fn open(agent: &Agent, browser: &Browser) {
    browser.open(&format!("http://{}/", agent.address()));
    browser.until("the connection", &says(&text("#connection"), "live"));
}

/// The page has complained of nothing, and asked nobody else for anything.
fn is_content(agent: &Agent, browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let asked = browser.value("performance.getEntries().map((one) => one.name)");
    let asked = asked.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let (own, others): (Vec<&str>, Vec<&str>) = asked
        .filter(|name| name.contains("://"))
        .partition(|name| name.starts_with(&format!("http://{}/", agent.address())));
    assert!(own.iter().any(|name| name.contains("/assets/app.js")), "{own:?}");
    assert_eq!(others, Vec::<&str>::new());
}

#[test]
fn charts_of_every_kind_are_drawn_and_go_on() {
    let Some(browser) = Browser::start() else { return };
    let plugins = BUNDLED.map(|name| (plugin(name), format!("libdropsonde_{name}.so"))).into();
    let agent = Agent::with(Options { plugins, ..Options::default() });
    for name in BUNDLED {
        agent.until(name, "delivering", |collector| collector["batches"].as_u64() > Some(0));
    }
    open(&agent, &browser);
    let has_pressure = std::path::Path::new("/proc/pressure/cpu").exists();
    let pressure = has_pressure.then_some("pressure");
    for panel in ["cpu", "cores", "memory", "network", "disk"].into_iter().chain(pressure) {
        browser.until(panel, &text(&format!("#{panel} .legend b")));
    }
    for panel in ["cpu", "cores", "memory"] {
        browser.until("a line", &format!("{} > 50", drawn(panel)));
    }
    let before = browser.value(&label("memory"));
    browser.until("other figures", &format!("{} !== {before}", label("memory")));
    let before = browser.value(&drawn("cores")).as_u64().unwrap();
    browser.until("a longer line", &format!("{} > {}", drawn("cores"), before + 20));
    browser.until("file systems", &text("#file-systems tbody td"));

    // What the agent does not know, the page says it does not.
    let figures = browser.value(&text("#cpu .figures"));
    let lacks = figures.as_str().unwrap().contains("not available: this machine does not tell");
    let snapshot = agent.snapshot();
    let cpu = &snapshot["cpu"];
    let nothing = cpu["temperature_celsius"].is_null() || cpu["frequency_mhz"].is_null();
    assert_eq!(lacks, nothing, "{figures}");
    browser.until("the hardware", "document.querySelectorAll('#graph-hardware li').length > 5");
    let rows = browser.value("document.querySelectorAll('#collector-rows tr').length");
    assert_eq!(rows, BUNDLED.len());

    for (dark, width, name) in [
        (false, 1400, "dashboard-light"),
        (true, 1400, "dashboard-dark"),
        (false, 390, "dashboard-phone-light"),
        (true, 390, "dashboard-phone-dark"),
    ] {
        browser.dark(dark);
        browser.width(width);
        let ground = browser.value("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(17, 22, 28)", dark, "{ground}");
        browser.until("a chart of that width", &format!("{} > 50", drawn("memory")));
        let wide = browser.value("document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64() <= Some(0), "{name} scrolls sideways by {wide} pixels");
        browser.screenshot(name, true);
    }
    is_content(&agent, &browser);
}

#[test]
fn a_collector_that_crashes_is_shown_with_its_error_and_can_be_steered() {
    let Some(browser) = Browser::start() else { return };
    let agent = Agent::with_plugins(
        "[restart]\ninitial = \"20ms\"\nmax = \"50ms\"\nlimit = 3\n\
         [defaults]\ninterval = \"50ms\"\n[collectors.faulty.settings]\n\
         fault = \"segfault\"\nround = 20\nwhile_file = \"{root}/on\"\n",
        &[&fixture("faulty"), &fixture("steady_v1")],
    );
    agent.running("faulty");
    std::fs::write(agent.path("libbroken.so"), "no library").unwrap();
    open(&agent, &browser);
    browser.until("the row", &says(&row("faulty"), "running"));
    std::fs::write(agent.root().join("on"), "").unwrap();
    browser.until("the crash", &says(&row("faulty"), "quarantined"));
    let shown = browser.value(&row("faulty"));
    assert!(shown.as_str().unwrap().contains("killed by SIGSEGV"), "{shown}");
    browser.until("the rejected file", &says(&text("#rejected"), "libbroken.so"));
    browser.screenshot("dashboard-crashed", true);

    std::fs::remove_file(agent.root().join("on")).unwrap();
    browser.click("[aria-label='Restart faulty']");
    browser.until("what was done", &says(&text("#said"), "faulty is being restarted"));
    browser.until("the restart", &says(&row("faulty"), "running"));
    agent.running("faulty");

    browser.click("[aria-label='Disable steady']");
    browser.until("the question", &says(&text("#confirm-text"), "steady"));
    browser.screenshot("dashboard-question", false);
    browser.click("dialog button[value=no]");
    browser.until("the answer", "!document.querySelector('dialog').open");
    assert_eq!(agent.collector("steady").unwrap()["disabled"], false);
    browser.click("[aria-label='Disable steady']");
    browser.click("dialog button[value=yes]");
    agent.until("steady", "disabled", |collector| collector["disabled"] == true);
    browser.until("the state", &says(&row("steady"), "disabled"));
    browser.click("[aria-label='Enable steady']");
    agent.running("steady");
    browser.until("the state", &says(&row("steady"), "running"));
    is_content(&agent, &browser);
}

#[test]
fn the_page_goes_on_when_the_agent_comes_back() {
    let Some(browser) = Browser::start() else { return };
    let plugins = vec![(plugin("cpu"), "libdropsonde_cpu.so".to_owned())];
    let agent = Agent::with(Options { plugins, ..Options::default() });
    agent.running("cpu");
    open(&agent, &browser);
    browser.until("figures", &text("#cpu .legend b"));
    let lacks = "not available: no collector “memory” is there";
    browser.until("what is missing", &says(&text("#memory .notice"), lacks));
    agent.signal("TERM");
    let remains = agent.ended();
    browser.until("that it is gone", &says(&text("#lost"), "has not answered since"));
    browser.screenshot("dashboard-lost", true);
    let agent = remains.start_again_there();
    browser.until("that it is back", &says(&text("#connection"), "live"));
    browser.until("no word of it", "document.querySelector('#lost').hidden");
    let before = browser.value(&label("cpu"));
    browser.until("new figures", &format!("{} !== {before}", label("cpu")));
    // The token of this start is another, and the page has it.
    browser.click("[aria-label='Restart cpu']");
    browser.until("that it is done", &says(&text("#said"), "cpu is being restarted"));
    agent.running("cpu");
}

#[test]
fn what_plugins_say_is_text_and_any_stream_can_be_looked_at() {
    let Some(browser) = Browser::start() else { return };
    let agent = Agent::with_plugins(
        "[collectors.steady]\ninterval = \"100ms\"\n[collectors.steady.settings]\n\
         label = \"<img src=x onerror=document.title='owned'><script>alert(1)</script>\"\n",
        &[&fixture("steady_v1")],
    );
    agent.running("steady");
    open(&agent, &browser);
    browser.until("the stream", "document.querySelector('option[value=\"metrics.steady\"]')");
    browser.value(
        "((choice) => {
           choice.value = 'metrics.steady';
           choice.dispatchEvent(new Event('change'));
         })(document.querySelector('#stream-choice'))",
    );
    let cells = text("#stream-table tbody");
    let before = browser.until("its records", &cells);
    assert!(before.as_str().unwrap().contains("<img src=x onerror="), "{before}");
    browser.until("the next ones", &format!("{cells} !== {before}"));
    let made = browser.value("document.querySelectorAll('#stream-table :is(img, script)').length");
    assert_eq!(made, 0);
    assert_ne!(browser.value("document.title"), "owned");
    is_content(&agent, &browser);
}
