// The dashboard: puts its parts together, and shows the agent itself.

import { Agent } from "./agent.js";
import { showCollectors } from "./collectors.js";
import { showGraphs } from "./graphs.js";
import { bytes, duration, figures, percent, say } from "./page.js";
import { panels } from "./panels.js";
import { showStreams } from "./streams.js";

const agent = new Agent();
document.getElementById("panels").append(...panels(agent));
showCollectors(agent);
showStreams(agent);
showGraphs(agent);
showConnection();
showOwnUse();
agent.start();

function showConnection() {
  const pill = document.getElementById("connection");
  const banner = document.getElementById("lost");
  agent.addEventListener("state", () => {
    say(pill, agent.live ? "live" : "connecting again");
    pill.className = `pill ${agent.live ? "good" : "bad"}`;
    banner.hidden = agent.live;
    if (!agent.live) {
      const since = agent.lostSince.toLocaleTimeString();
      say(banner, `The agent has not answered since ${since}. What is shown is from before; this page goes on when it is back.`);
    }
  });
}

/** Uptime, CPU and memory of the agent. */
function showOwnUse() {
  const list = document.getElementById("own");
  let before = null;
  agent.addEventListener("status", () => {
    const own = agent.status.host;
    const now = { at: performance.now() / 1000, cpu: own.cpu_seconds, start: own.start_time_seconds };
    const same = before !== null && before.start === now.start && now.at > before.at;
    const share = same ? (100 * (now.cpu - before.cpu)) / (now.at - before.at) : null;
    before = now;
    figures(list, [
      { name: "Agent up", text: duration(Date.now() / 1000 - own.start_time_seconds) },
      { name: "its CPU", text: share === null ? "…" : percent(Math.max(0, share)) },
      { name: "its memory", text: bytes(own.resident_bytes) },
    ]);
  });
}
