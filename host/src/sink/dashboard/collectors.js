// The collectors and plugin files, and what can be done with them.

import { duration, count, element, say } from "./page.js";

const GOOD = ["running"];
const BAD = ["quarantined", "backing_off"];
const place = (id) => document.getElementById(id);

export function showCollectors(agent) {
  const rows = new Map();
  const confirm = place("confirm");
  const act = async (name, action) => {
    if (action === "disable" && !(await confirmed(confirm, name))) return;
    const done = { restart: "is being restarted", disable: "is disabled", enable: "is enabled" };
    try {
      await agent.steer(name, action);
      say(place("said"), `${name} ${done[action]}`);
    } catch (error) {
      say(place("said"), `${name}: ${error.message}`);
    }
  };
  agent.addEventListener("status", () => {
    const { collectors, plugins } = agent.status;
    say(place("no-actions"), `collectors can't be steered from here: ${agent.whyNoActions}`);
    place("no-actions").hidden = !agent.whyNoActions;
    for (const collector of collectors) {
      if (!rows.has(collector.name)) rows.set(collector.name, new Row(collector.name, act));
      rows.get(collector.name).show(collector, agent.whyNoActions);
    }
    for (const [name, row] of rows) {
      if (!collectors.some((collector) => collector.name === name)) {
        row.element.remove();
        rows.delete(name);
      }
    }
    // In the order of the agent; what stands right is not moved, so that focus stays.
    collectors.forEach((collector, index) => {
      const { element: row } = rows.get(collector.name);
      const there = place("collector-rows").children[index];
      if (there !== row) place("collector-rows").insertBefore(row, there ?? null);
    });
    showRejected(plugins.filter((plugin) => plugin.rejection));
  });
}

/** One collector: built once, then filled. */
class Row {
  #name;
  #phase = element("span", { class: "pill" });
  #cells = {};
  #restart;
  #toggle;
  #disabled = false;

  constructor(name, act) {
    this.#name = name;
    this.#restart = element("button", { on: { click: () => act(name, "restart") } }, "Restart");
    const toggle = () => act(name, this.#disabled ? "enable" : "disable");
    this.#toggle = element("button", { on: { click: toggle } });
    const cell = (key, label, kind = "") => {
      this.#cells[key] = element("td", { "data-label": label, class: kind });
      return this.#cells[key];
    };
    const title = element("td", {}, element("strong", {}, name));
    this.#cells.plugin = element("span", { class: "faint" });
    title.append(" ", this.#cells.plugin);
    this.element = element("tr", { "data-collector": name }, title,
      element("td", {}, this.#phase), cell("generation", "Generation"), cell("isolation", "Runs in"),
      cell("rounds", "Rounds"), cell("restarts", "Restarts"), cell("age", "Last batch"),
      cell("error", "Last error", "error"),
      element("td", {}, element("div", { class: "buttons" }, this.#restart, this.#toggle)));
  }

  show(collector, whyNoActions) {
    const { phase, generation, isolation, moved, rounds, failed_rounds: failed, restarts } = collector;
    this.#disabled = collector.disabled;
    say(this.#phase, collector.disabled ? "disabled" : phase.replaceAll("_", " "));
    this.#phase.className = `pill ${GOOD.includes(phase) ? "good" : BAD.includes(phase) ? "bad" : ""}`;
    const age = collector.last_batch_age_seconds;
    const texts = {
      plugin: collector.plugin === this.#name ? "" : `of ${collector.plugin}`,
      generation: String(generation),
      isolation: moved ? `${isolation}: ${moved}` : isolation,
      rounds: failed ? `${count(rounds)}, ${count(failed)} failed` : count(rounds),
      restarts: String(restarts),
      age: age === null ? "–" : `${duration(age)} ago`,
      error: collector.last_error ?? "",
    };
    Object.entries(texts).forEach(([key, text]) => say(this.#cells[key], text));
    this.#cells.error.className = phase === "running" ? "error over" : "error";
    say(this.#toggle, collector.disabled ? "Enable" : "Disable");
    this.#toggle.disabled = Boolean(whyNoActions);
    this.#restart.disabled = Boolean(whyNoActions) || collector.disabled;
    for (const [button, what] of [[this.#restart, "Restart"], [this.#toggle, this.#toggle.textContent]]) {
      button.setAttribute("aria-label", `${what} ${this.#name}`);
    }
  }
}

async function confirmed(dialog, name) {
  say(place("confirm-text"), `Disable “${name}”? Nothing collects its values until somebody enables it, or the agent starts again.`);
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "yes";
}

function showRejected(rejected) {
  const text = JSON.stringify(rejected.map((plugin) => [plugin.file, plugin.rejection]));
  const box = place("rejected");
  if (box.dataset.shown === text) return;
  box.dataset.shown = text;
  const entry = (plugin) => element("li", {}, element("strong", {}, plugin.file), element("p", { class: "notice" }, plugin.rejection));
  box.replaceChildren(...(rejected.length === 0 ? [] : [
    element("h3", {}, "Plugin files that were rejected"),
    element("ul", {}, ...rejected.map(entry)),
  ]));
}
