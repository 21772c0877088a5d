// A table of any stream that a person picks: so plugins that this page knows nothing of are
// seen too.

import { element, say, withUnit } from "./page.js";

const ROWS = 200;

export function showStreams(agent) {
  const choice = document.getElementById("stream-choice");
  const box = document.getElementById("stream-table");
  let known = new Map();
  let feed = null;

  const refill = async () => {
    const topics = agent.status.bus.streams.map((stream) => stream.topic);
    if (topics.length === known.size && topics.every((topic) => known.has(topic))) return;
    const streams = await agent.get("/api/v1/streams").catch(() => null);
    if (!streams) return;
    known = new Map(streams.map((stream) => [stream.topic, stream]));
    const chosen = choice.value;
    const options = streams.map((stream) => element("option", { value: stream.topic }, stream.topic));
    choice.replaceChildren(element("option", { value: "" }, "choose one"), ...options);
    choice.value = known.has(chosen) ? chosen : "";
    if (choice.value !== chosen) show();
  };

  const show = () => {
    if (feed !== null) agent.drop(feed);
    feed = null;
    box.replaceChildren();
    const stream = known.get(choice.value);
    if (!stream) return;
    const table = new Table(stream);
    box.append(...table.elements);
    feed = agent.want(stream.topic, (batch) => table.show(batch));
  };

  choice.addEventListener("change", show);
  agent.addEventListener("status", refill);
}

class Table {
  #stream;
  #rows = element("tbody");
  #note = element("p", { class: "faint" }, "waiting for the next batch");
  #records = [];

  constructor(stream) {
    this.#stream = stream;
  }

  get elements() {
    const { columns, description } = this.#stream;
    const head = columns.map((column) =>
      element("th", { scope: "col", title: column.description, class: isNumber(column) ? "number" : "" }, column.name));
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...head)), this.#rows);
    return [element("p", {}, description), this.#note, element("div", { class: "scroll" }, table)];
  }

  show(batch) {
    const isEvent = this.#stream.kind === "event";
    this.#records = isEvent ? [...batch.records.reverse(), ...this.#records].slice(0, ROWS) : batch.records;
    const shown = this.#records.slice(0, ROWS);
    const rest = this.#records.length - shown.length;
    const more = rest > 0 ? `, ${rest} more records are not shown` : "";
    say(this.#note, `${new Date(batch.timestamp).toLocaleTimeString()}: ${batch.records.length} records${more}`);
    this.#rows.replaceChildren(...shown.map((record) => {
      const cells = this.#stream.columns.map((column) =>
        element("td", { class: isNumber(column) ? "number" : "" }, withUnit(record[column.name], column.unit)));
      return element("tr", {}, ...cells);
    }));
  }
}

const isNumber = (column) => ["u64", "i64", "f64"].includes(column.value);
