// Lines over the last three minutes, drawn when something new has come. The figures stand as
// text in the legend; a pointer or the arrow keys show those of another time.

import { element, say } from "./page.js";

const WINDOW = 180_000;
const COLOURS = 8;
const MARGIN = { right: 6, top: 8, bottom: 18 };

export class Chart {
  /** Where it stands on the page. */
  element;
  #title;
  #format;
  #max;
  #times = [];
  /** By name: values as long as `times`, colour, dashes, entry of the legend. */
  #series = new Map();
  #cursor = null;
  /** Room for the figures at the scale. */
  #left = 0;
  #canvas;
  #legend = element("ul", { class: "legend" });
  #at = element("span", { class: "at" });
  #due = false;

  /** `max` is fixed, or null for what the values need. */
  constructor(title, format, max = null) {
    this.#title = title;
    this.#format = format;
    this.#max = max;
    this.#canvas = element("canvas", { role: "img", tabindex: "0", "aria-label": title, on: {
      pointermove: (event) => this.#point(event.offsetX),
      pointerleave: () => this.#look(null),
      blur: () => this.#look(null),
      keydown: (event) => this.#key(event),
    } });
    this.element = element("div", { class: "chart" }, this.#at, this.#canvas, this.#legend);
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** The top of the scale from now on. */
  set max(value) {
    this.#max = value;
  }

  /** Adds the values of one instant: `[{ name, value, group, dashed }]`; those of a group share a
   * colour. A value that is missing is a gap. */
  add(time, values) {
    const last = this.#times.at(-1) ?? time;
    const gap = time - last > this.#usualStep() * 3.5;
    if (time < last) return; // an older batch that was late
    if (gap) this.#push(last + 1, new Map());
    this.#push(time, new Map(values.map((one) => [one.name, one])));
    while (this.#times[0] < time - WINDOW) {
      this.#times.shift();
      this.#series.forEach((series) => series.values.shift());
    }
    for (const [name, series] of this.#series) {
      if (series.values.every((value) => value === null)) {
        series.entry.remove();
        this.#series.delete(name);
      }
    }
    this.#draw();
  }

  #usualStep() {
    const [before, last] = this.#times.slice(-2);
    return Math.max(1000, last - before || 1000);
  }

  #push(time, values) {
    for (const [name, one] of values) {
      if (!this.#series.has(name)) this.#series.set(name, this.#begin(one));
    }
    this.#times.push(time);
    this.#series.forEach((series, name) => series.values.push(values.get(name)?.value ?? null));
  }

  #begin({ name, group = name, dashed = false }) {
    const groups = [...new Set([...this.#series.values()].map((series) => series.group))];
    const place = groups.includes(group) ? groups.indexOf(group) : groups.length;
    const colour = `--s${place % COLOURS}`;
    const swatch = element("span", { class: dashed ? "swatch dashed" : "swatch", "aria-hidden": "true" });
    swatch.style.borderColor = `var(${colour})`;
    const value = element("b");
    const entry = element("li", {}, swatch, element("span", {}, name), value);
    this.#legend.append(entry);
    const values = this.#times.map(() => null);
    return { group, colour, dashed, values, entry, text: value };
  }

  #point(x) {
    const [from, to] = this.#span();
    const width = this.#canvas.clientWidth - this.#left - MARGIN.right;
    this.#look(from + ((x - this.#left) / width) * (to - from));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const index = this.#cursor === null ? this.#times.length - 1 : this.#index();
    this.#look(this.#times[Math.max(0, Math.min(this.#times.length - 1, index + step))]);
  }

  #look(time) {
    this.#cursor = time ?? null;
    this.#draw();
  }

  /** The point that is looked at: the last one, or that nearest to the cursor. */
  #index() {
    if (this.#cursor === null) return this.#times.length - 1;
    let best = 0;
    this.#times.forEach((time, index) => {
      const nearer = Math.abs(time - this.#cursor) < Math.abs(this.#times[best] - this.#cursor);
      if (nearer) best = index;
    });
    return best;
  }

  #span() {
    const last = this.#times.at(-1) ?? Date.now();
    return [last - WINDOW, last];
  }

  #draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#paint();
      this.#tell();
    });
  }

  #tell() {
    const index = this.#index();
    const texts = [];
    this.#series.forEach((series, name) => {
      const value = series.values[index];
      const text = value === null || value === undefined ? "–" : this.#format(value);
      say(series.text, text);
      texts.push(`${name} ${text}`);
    });
    const time = this.#times[index];
    const shown = this.#cursor === null || !time ? "" : new Date(time).toLocaleTimeString();
    say(this.#at, shown);
    this.#canvas.setAttribute("aria-label", `${this.#title} ${shown}: ${texts.join(", ")}`);
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0) return;
    const scale = devicePixelRatio || 1;
    this.#canvas.width = width * scale;
    this.#canvas.height = height * scale;
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const colour = (name) => style.getPropertyValue(name);
    const [from, to] = this.#span();
    const top = this.#top();
    pen.font = `11px ${style.fontFamily}`;
    const levels = [0, top / 2, top].map((value) => ({ value, text: this.#format(value) }));
    this.#left = 8 + Math.max(...levels.map(({ text }) => pen.measureText(text).width));
    const x = (time) => this.#left + ((time - from) / (to - from)) * (width - this.#left - MARGIN.right);
    const y = (value) => height - MARGIN.bottom - (value / top) * (height - MARGIN.top - MARGIN.bottom);

    pen.fillStyle = colour("--faint");
    pen.strokeStyle = colour("--line");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const { value, text } of levels) {
      const level = Math.round(y(value)) + 0.5;
      line(pen, this.#left, level, width - MARGIN.right, level);
      pen.fillText(text, this.#left - 6, level);
    }
    pen.textBaseline = "bottom";
    for (const minutes of [0, 1, 2, 3]) {
      pen.textAlign = minutes === 0 ? "right" : minutes === 3 ? "left" : "center";
      pen.fillText(minutes === 0 ? "now" : `−${minutes} min`, x(to - minutes * 60_000), height);
    }
    pen.lineWidth = 1.6;
    pen.lineJoin = "round";
    for (const series of this.#series.values()) {
      pen.strokeStyle = colour(series.colour);
      pen.setLineDash(series.dashed ? [3, 3] : []);
      this.#trace(pen, series.values, x, y);
    }
    pen.setLineDash([]);
    if (this.#cursor !== null && this.#times.length > 0) {
      pen.strokeStyle = colour("--faint");
      const at = x(this.#times[this.#index()]);
      line(pen, at, MARGIN.top, at, height - MARGIN.bottom);
    }
  }

  #trace(pen, values, x, y) {
    pen.beginPath();
    let drawn = false;
    values.forEach((value, index) => {
      if (value === null) {
        drawn = false;
      } else if (drawn) {
        pen.lineTo(x(this.#times[index]), y(value));
      } else {
        pen.moveTo(x(this.#times[index]), y(value));
        drawn = true;
      }
    });
    pen.stroke();
  }

  /** The top of the scale: a round number above all values, in powers of 2 where it is large. */
  #top() {
    if (this.#max) return this.#max;
    let most = 0;
    this.#series.forEach((series) => series.values.forEach((value) => (most = Math.max(most, value ?? 0))));
    if (most <= 1) return 1;
    if (most > 1024) return 2 ** Math.ceil(Math.log2(most));
    const power = 10 ** Math.floor(Math.log10(most));
    return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= most);
  }
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}
