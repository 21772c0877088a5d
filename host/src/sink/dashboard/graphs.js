// What hangs on what: the graph of the hardware, and of any collector that has one. A node that
// hangs on several stands below the first of them, and is named below the others.

import { element, say } from "./page.js";

/** How often a graph is asked for again. */
const EVERY = 60_000;
/** What lies deeper is left out. */
const DEPTH = 64;

export function showGraphs(agent) {
  const shown = new Map();
  const look = async () => {
    const streams = await agent.get("/api/v1/streams").catch(() => []);
    const isGraph = ({ columns }) =>
      columns.some((one) => one.name === "id" && one.role === "key") && columns.some((one) => one.name === "parents");
    for (const { collector } of streams.filter(isGraph)) {
      if (!shown.has(collector)) {
        shown.set(collector, new Graph(collector));
        document.getElementById("graphs").append(shown.get(collector).element);
      }
    }
    shown.forEach((graph) => graph.refresh(agent));
  };
  let streams = 0;
  agent.addEventListener("status", () => {
    if (agent.status.bus.streams.length !== streams) look();
    streams = agent.status.bus.streams.length;
  });
  setInterval(() => document.hidden || !agent.live || look(), EVERY);
}

class Graph {
  #collector;
  #notice = element("p", { class: "notice", hidden: true });
  #tree = element("ul", { class: "tree" });
  #shown = "";

  constructor(collector) {
    this.#collector = collector;
    const title = collector[0].toUpperCase() + collector.slice(1).replaceAll("_", " ");
    const attributes = { id: `graph-${collector}`, "aria-label": title };
    this.element = element("section", attributes, element("h2", {}, title), this.#notice, this.#tree);
  }

  async refresh(agent) {
    try {
      this.#show(await agent.get(`/api/v1/${encodeURIComponent(this.#collector)}`));
      say(this.#notice, "");
    } catch (error) {
      say(this.#notice, `not available: ${error.message}`);
    }
    this.#notice.hidden = this.#notice.textContent === "";
  }

  #show({ nodes, edges }) {
    const text = JSON.stringify([nodes, edges]);
    if (text === this.#shown) return; // what a person opened stays open
    this.#shown = text;
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const children = new Map();
    edges.forEach(({ from, to }) => children.set(from, [...(children.get(from) ?? []), to]));
    const hangs = new Set(edges.map((edge) => edge.to));
    const roots = nodes.filter((node) => !hangs.has(node.id)).map((node) => node.id);
    const met = new Set();
    // The agent leaves out edges that would close a cycle.
    const item = (id, depth) => {
      const node = byId.get(id);
      if (met.has(id)) return element("li", {}, element("span", { class: "faint" }, `↗ ${nameOf(node)}, see above`));
      met.add(id);
      const deeper = depth < DEPTH ? (children.get(id) ?? []) : [];
      const below = deeper.map((child) => item(child, depth + 1));
      const summary = element("summary", {}, nameOf(node), element("span", { class: "kind" }, kindOf(node, below.length)));
      const details = element("details", { open: depth < 1 }, summary, attributesOf(node));
      if (below.length > 0) details.append(element("ul", {}, ...below));
      return element("li", {}, details);
    };
    this.#tree.replaceChildren(...roots.map((id) => item(id, 0)));
  }
}

const nameOf = (node) => String(node.name ?? node.id);
const kindOf = (node, below) => [node.kind, below ? `${below} below` : null].filter(Boolean).join(", ");

function attributesOf(node) {
  const told = Object.entries(node).filter(([key, value]) =>
    !["id", "name", "kind"].includes(key) && value !== null && !(Array.isArray(value) && value.length === 0));
  const entries = told.flatMap(([key, value]) => [
    element("dt", {}, key.replaceAll("_", " ")),
    element("dd", {}, Array.isArray(value) ? value.join(", ") : String(value)),
  ]);
  return element("dl", {}, ...entries);
}
