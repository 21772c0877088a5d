// The charts of what most machines have. Where something is missing, its panel says why.

import { Chart } from "./chart.js";
import { bytes, count, element, figures, percent, perSecond, say } from "./page.js";

/** What a machine that has no such thing is said to lack. */
const UNTOLD = "this machine does not tell";

const timeOf = (batch) => Date.parse(batch.timestamp);
const figure = (name, value, format, missing = UNTOLD) =>
  value === null || value === undefined ? { name, missing } : { name, text: format(value) };

/** A box for one topic; `take` fills its parts from a batch. It says what is missing, and shows
 * nothing else before the first batch. */
function panel(agent, id, title, topic, parts, take) {
  const heading = element("h2", { id: `${id}-title` }, title);
  const notice = element("p", { class: "notice", hidden: true });
  const attributes = { id, class: "empty", "aria-labelledby": `${id}-title` };
  const box = element("section", attributes, heading, notice, ...parts);
  agent.want(topic, (batch) => {
    box.classList.remove("empty");
    take(batch);
  });
  agent.addEventListener("status", () => {
    const why = agent.why(topic);
    say(notice, why ? `not available: ${why}` : "");
    notice.hidden = !why;
  });
  return box;
}

/** All panels, in the order of the page. */
export function panels(agent) {
  const all = [cpu, cores, memory, network, disk, pressure, fileSystems];
  return all.map((make) => make(agent));
}

function cpu(agent) {
  const list = element("dl", { class: "figures" });
  const chart = new Chart("CPU of all cores together", percent, 100);
  return panel(agent, "cpu", "CPU", "metrics.cpu", [list, chart.element], (batch) => {
    const [now = {}] = batch.records;
    figures(list, [
      figure("Usage", now.usage_percent, percent, "the first second"),
      figure("Load", now.load_avg_1m, (load) =>
        [load, now.load_avg_5m, now.load_avg_15m].map((one) => one?.toFixed(2) ?? "–").join(" · ")),
      figure("Clock", now.frequency_mhz, (clock) => `${count(Math.round(clock))} MHz`),
      figure("Temperature", now.temperature_celsius, (degrees) => `${degrees.toFixed(0)} °C`),
    ]);
    const part = (name, column) => ({ name, value: now[column] });
    chart.add(timeOf(batch), [
      part("usage", "usage_percent"), part("user", "user_percent"),
      part("system", "system_percent"), part("waits for I/O", "iowait_percent"),
      part("stolen", "steal_percent"),
    ]);
  });
}

function cores(agent) {
  const chart = new Chart("CPU usage by core", percent, 100);
  return panel(agent, "cores", "CPU by core", "metrics.cpu.cores", [chart.element], (batch) => {
    chart.add(timeOf(batch), batch.records.map((core) => ({ name: core.core, value: core.usage_percent })));
  });
}

function memory(agent) {
  const list = element("dl", { class: "figures" });
  const chart = new Chart("Memory", bytes);
  return panel(agent, "memory", "Memory", "metrics.memory", [list, chart.element], (batch) => {
    const [now = {}] = batch.records;
    const swap = now.swap_total_bytes === 0 ? "this machine has no swap" : UNTOLD;
    figures(list, [
      figure("Used", now.used_bytes, (used) => `${bytes(used)} of ${bytes(now.total_bytes)} (${percent(now.percent ?? 0)})`),
      figure("Available", now.available_bytes, bytes),
      figure("Swap", now.swap_total_bytes || null, (all) => `${bytes(now.swap_used_bytes ?? 0)} of ${bytes(all)}`, swap),
    ]);
    chart.max = now.total_bytes || null;
    chart.add(timeOf(batch), [
      { name: "used", value: now.used_bytes }, { name: "cached", value: now.cached_bytes },
      { name: "free", value: now.free_bytes },
      ...(now.swap_total_bytes ? [{ name: "swap used", value: now.swap_used_bytes }] : []),
    ]);
  });
}

/** Two directions of several things: a line each, of one colour. */
const directions = (records, key, [first, second]) =>
  records.flatMap((record) => [
    { name: `${record[key]} ${first.name}`, group: record[key], value: record[first.column] },
    { name: `${record[key]} ${second.name}`, group: record[key], value: record[second.column], dashed: true },
  ]);

function network(agent) {
  const list = element("dl", { class: "figures" });
  const chart = new Chart("Network traffic by interface", perSecond);
  const ways = [
    { name: "receives", column: "bytes_recv_per_sec" },
    { name: "sends", column: "bytes_sent_per_sec" },
  ];
  return panel(agent, "network", "Network", "metrics.network.interfaces", [list, chart.element], (batch) => {
    const sum = (column) => batch.records.reduce((all, one) => all + (one[column] ?? 0), 0);
    figures(list, [
      { name: "Interfaces", text: count(batch.records.length) },
      { name: "Errors", text: count(sum("errin") + sum("errout")) },
      { name: "Dropped", text: count(sum("dropin") + sum("dropout")) },
    ]);
    chart.add(timeOf(batch), directions(batch.records, "interface", ways));
  });
}

function disk(agent) {
  const idle = element("p", { class: "faint" });
  const chart = new Chart("Disk traffic by device", perSecond);
  const ways = [
    { name: "reads", column: "read_bytes_per_sec" },
    { name: "writes", column: "write_bytes_per_sec" },
  ];
  return panel(agent, "disk", "Disks", "metrics.disk.devices", [chart.element, idle], (batch) => {
    const busy = batch.records.filter((one) => one.read_bytes + one.write_bytes > 0);
    const others = batch.records.length - busy.length;
    say(idle, others > 0 ? `${others} that never read or wrote are left out` : "");
    chart.add(timeOf(batch), directions(busy, "device", ways));
  });
}

function fileSystems(agent) {
  const rows = element("tbody");
  const head = ["Mounted on", "Type", "Used", "Of"].map((name) => element("th", { scope: "col" }, name));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), rows);
  const scroll = element("div", { class: "scroll" }, table);
  return panel(agent, "file-systems", "File systems", "metrics.disk.partitions", [scroll], (batch) => {
    rows.replaceChildren(...batch.records.map((one) => {
      const used = element("meter", { min: 0, max: 100, high: 90, value: one.percent ?? 0, "aria-hidden": "true" });
      const text = one.percent === null ? `not available: ${UNTOLD}` : ` ${percent(one.percent)}`;
      return element("tr", {}, element("td", {}, one.mount_point), element("td", {}, one.fs_type ?? "–"),
        element("td", {}, one.percent === null ? null : used, text),
        element("td", {}, one.total_bytes === null ? "–" : bytes(one.total_bytes)));
    }));
  });
}

function pressure(agent) {
  const list = element("dl", { class: "figures" });
  const chart = new Chart("Pressure: share of time in which tasks waited, over 10 s", percent);
  return panel(agent, "pressure", "Pressure", "metrics.pressure", [list, chart.element], (batch) => {
    const waited = (record) => figure(record.resource, record.some_avg60_percent, (share) => `${percent(share)} of the last minute`);
    figures(list, batch.records.filter((one) => one.some_avg60_percent !== null).map(waited));
    chart.add(timeOf(batch), batch.records.flatMap((one) => [
      { name: `${one.resource}: some`, group: one.resource, value: one.some_avg10_percent },
      { name: `${one.resource}: all`, group: one.resource, value: one.full_avg10_percent, dashed: true },
    ]));
  });
}
