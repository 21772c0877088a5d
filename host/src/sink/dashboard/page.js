// Elements and figures. Whatever comes from the agent is set as text, never as markup.

/** An element: `element("p", { class: "faint", on: { click } }, "text", child)`. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") {
      for (const [event, call] of Object.entries(value)) made.addEventListener(event, call);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets text only where it differs, so that a selection and a screen reader are left in peace. */
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

/** A `dl` whose entries are replaced in place: `[{ name, text, missing }]`. */
export function figures(list, entries) {
  const rows = [...list.children];
  entries.forEach(({ name, text, missing }, index) => {
    let row = rows[index];
    if (!row) {
      row = element("div", {}, element("dt"), element("dd"));
      list.append(row);
    }
    say(row.children[0], name);
    say(row.children[1], missing ? `not available: ${missing}` : text);
    row.className = missing ? "missing" : "";
  });
  rows.slice(entries.length).forEach((row) => row.remove());
}

const steps = (value, base, units) => {
  let index = 0;
  let size = Math.abs(value);
  while (size >= base && index < units.length - 1) {
    size /= base;
    index += 1;
  }
  const digits = Number.isInteger(size) || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return `${(Math.sign(value) * size).toFixed(digits)} ${units[index]}`;
};

export const bytes = (value) => steps(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
export const perSecond = (value) => `${bytes(value)}/s`;
export const percent = (value) => `${value.toFixed(Number.isInteger(value) || value >= 99.95 ? 0 : 1)} %`;
export const count = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A value of a column, with its unit (UCUM). */
export function withUnit(value, unit) {
  if (value === null || value === undefined) return "–";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value !== "number") return String(value);
  if (unit === "By") return bytes(value);
  if (unit === "By/s") return perSecond(value);
  if (unit === "%") return percent(value);
  if (unit === "s") return duration(value);
  const short = unit.replace(/\{[^}]*\}/g, "").replace(/^1$/, "").replace(/^\/s$/, "a second");
  return `${count(value)} ${short}`.trim();
}
