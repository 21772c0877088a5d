// The agent as this page knows it: its state, its streams, and what can be done with it. Says
// "state" when the connection comes or goes, "status" when the state of everything is new.

const STATUS_EVERY = 2000;
const PATIENCE = 5000;
/** Pauses before the next attempt to connect, milliseconds; the last one stays. */
const PAUSES = [250, 500, 1000, 2000, 4000, 8000];

export class Agent extends EventTarget {
  /** What `/api/v1/status` last said. */
  status = null;
  live = false;
  /** Since when it has not been live; null before the first connection. */
  lostSince = null;
  whyNoActions = "";
  #token = "";
  #socket = null;
  #attempts = 0;
  #wanted = new Map();
  #lastId = 0;
  #refreshing = null;

  start() {
    this.#readTokens(document);
    this.want("health.>", () => this.#refreshSoon());
    this.want("host.>", () => this.#refreshSoon());
    this.#connect();
    setInterval(() => document.hidden || this.refresh(), STATUS_EVERY);
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** Subscribes to a topic, as soon as it is there; `take` gets each batch. */
  want(topic, take) {
    const id = ++this.#lastId;
    this.#wanted.set(id, { topic, take, sent: false, last: "" });
    this.#subscribe();
    return id;
  }

  /** Ends what `want` began. */
  drop(id) {
    const feed = this.#wanted.get(id);
    this.#wanted.delete(id);
    if (feed?.sent) this.#send({ unsubscribe: id });
  }

  async get(path) {
    const options = { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" };
    const answer = await fetch(path, options);
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error ?? answer.statusText);
    return body;
  }

  /** `restart`, `disable` or `enable` of a collector. */
  async steer(collector, action) {
    const path = `/api/v1/collectors/${encodeURIComponent(collector)}/${action}`;
    const headers = { "X-Dropsonde-Token": this.#token };
    const answer = await fetch(path, { method: "POST", headers });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.error ?? answer.statusText);
    this.#refreshSoon();
    return body;
  }

  async refresh() {
    if (!this.live) return;
    try {
      this.status = await this.get("/api/v1/status");
    } catch {
      this.#socket?.close(); // nobody answers: begins anew
      return;
    }
    this.#subscribe();
    this.dispatchEvent(new Event("status"));
  }

  /** Why there are no values of a topic, in words; null if there should be. */
  why(topic) {
    const { collectors = [], plugins = [], bus } = this.status ?? {};
    if (!this.status) return "the agent has not answered yet";
    const name = topic.split(".")[1];
    const collector = collectors.find((one) => one.name === name);
    if (!collector) {
      const of = (one) => one.name === name || one.file.endsWith(`_${name}.so`);
      const plugin = plugins.find(of);
      if (plugin?.rejection) return `its plugin was rejected: ${plugin.rejection}`;
      return `no collector “${name}” is there`;
    }
    if (collector.disabled) return `the collector “${name}” is disabled`;
    if (collector.phase !== "running") {
      const error = collector.last_error ? `: ${collector.last_error}` : "";
      return `the collector “${name}” is ${collector.phase.replaceAll("_", " ")}${error}`;
    }
    if (!bus.streams.some((stream) => stream.topic === topic)) {
      return `the collector “${name}” has no stream ${topic}`;
    }
    return null;
  }

  #refreshSoon() {
    clearTimeout(this.#refreshing);
    this.#refreshing = setTimeout(() => this.refresh(), 100);
  }

  #readTokens(page) {
    const content = (name) => page.querySelector(`meta[name="dropsonde-${name}"]`)?.content ?? "";
    this.#token = content("token");
    this.whyNoActions = content("why-no-actions");
  }

  async #connect() {
    try {
      if (this.#attempts > 0) {
        // Another start of the agent has another token.
        const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
        if (!answer.ok) throw new Error(answer.statusText);
        this.#readTokens(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch {
      return this.#again();
    }
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#take(JSON.parse(event.data)));
    socket.addEventListener("close", () => this.#again());
  }

  #opened() {
    this.live = true;
    this.#attempts = 0;
    this.lostSince = null;
    this.#wanted.forEach((feed) => (feed.sent = false));
    this.#subscribe();
    this.dispatchEvent(new Event("state"));
    this.refresh();
  }

  #again() {
    this.live = false;
    this.lostSince ??= new Date();
    const pause = PAUSES[Math.min(this.#attempts, PAUSES.length - 1)];
    this.#attempts += 1;
    // Not all pages at once.
    setTimeout(() => this.#connect(), pause * (0.5 + Math.random()));
    this.dispatchEvent(new Event("state"));
  }

  /** Asks for what is wanted and there, as often as it is read anyway, once a second at most. */
  #subscribe() {
    if (!this.live) return;
    for (const [id, feed] of this.#wanted) {
      const stream = this.status?.bus.streams.find((one) => one.topic === feed.topic);
      if (feed.sent || !(stream || feed.topic.endsWith(">"))) continue;
      const collector = this.status?.collectors.find((one) => one.name === stream?.collector);
      const every = `${Math.max(1000, Math.round((collector?.interval_seconds ?? 1) * 1000))}ms`;
      feed.sent = true;
      this.#send({ subscribe: { topic: feed.topic, every, name: "dashboard" }, id });
    }
  }

  #send(message) {
    if (this.live) this.#socket.send(JSON.stringify(message));
  }

  #take(frame) {
    const feed = this.#wanted.get(frame.id);
    if (!feed) return;
    if (frame.error) {
      feed.sent = false; // it went away just now: again when it is there
      return;
    }
    // The first batch may come twice.
    const which = `${frame.topic} ${frame.timestamp} ${frame.sequence}`;
    if (frame.records && which !== feed.last) {
      feed.last = which;
      feed.take(frame);
    }
  }
}
