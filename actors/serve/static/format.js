// Turns wire values into text. Null becomes an en dash: unknown is never shown as 0.

export const DASH = "–";
const UNKNOWN = "not known now";
const MINUS = "−";

export function fixed(value, digits) {
  const text = Math.abs(value).toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  const isZero = Number(Math.abs(value).toFixed(digits)) === 0;
  return value < 0 && !isZero ? MINUS + text : text;
}

const known = (value, write) => (value === null || value === undefined ? null : write(value));

export const power = (kw, signed = false) =>
  known(kw, (v) => {
    const [scaled, unit] = Math.abs(v) >= 1000 ? [v / 1000, "MW"] : [v, "kW"];
    const text = fixed(scaled, Math.abs(scaled) >= 100 && unit === "kW" ? 0 : unit === "MW" ? 2 : 1);
    return `${signed && v > 0 && !/^[0.]+$/.test(text) ? "+" : ""}${text} ${unit}`;
  });

export const energy = (kwh) =>
  known(kwh, (v) => {
    const [scaled, unit] = Math.abs(v) >= 10_000 ? [v / 1000, "MWh"] : [v, "kWh"];
    return `${fixed(scaled, Math.abs(scaled) >= 100 ? 0 : 1)} ${unit}`;
  });

export const percent = (pct, digits = 0) => known(pct, (v) => `${fixed(v, digits)} %`);
export const price = (value) => known(value, (v) => fixed(v, Math.abs(v) >= 1000 ? 0 : 1));
export const money = (amount, currency) =>
  known(amount, (v) => `${currency} ${fixed(v, Math.abs(v) >= 10_000 ? 0 : 2)}`);
export const celsius = (value) => known(value, (v) => `${fixed(v, 1)} °C`);

export function duration(seconds) {
  return known(seconds, (s) => {
    if (s < 10) return `${fixed(s, 1)} s`;
    if (s < 120) return `${fixed(s, 0)} s`;
    return s < 7200 ? `${fixed(s / 60, 0)} min` : `${fixed(s / 3600, 1)} h`;
  });
}

const stamp = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const HOUR_MINUTE = stamp({ hour: "2-digit", minute: "2-digit" });
const DAY = stamp({ weekday: "short", day: "numeric", month: "short" });
const DAY_SHORT = stamp({ weekday: "short", day: "numeric" });
const DAY_YEAR = stamp({ weekday: "short", day: "numeric", month: "short", year: "numeric" });

export const clock = (ms) => HOUR_MINUTE.format(ms);
export const day = (ms, short = false) => (short ? DAY_SHORT : DAY).format(ms);
export const dateTime = (ms) => `${DAY_YEAR.format(ms)} ${HOUR_MINUTE.format(ms)} UTC`;
export const words = (name) => name.replaceAll("_", " ");

// Whose plan a site follows; a cached one with its age in market time.
export function follows(site) {
  if (site.autonomy === null) return null;
  const aged = site.autonomy === "cached_schedule" && site.schedule_age_s !== null;
  return words(site.autonomy) + (aged ? `, ${duration(site.schedule_age_s)} old` : "");
}

// What must not be overlooked about a site, as [class, text].
function flags(site) {
  const found = [];
  if (site.autonomy === "safe_stop") found.push(["stop", "Safe stop"]);
  if (site.stop !== null && !site.stop.obeyed) found.push(["wait", site.stop.active ? "Stop ordered" : "Release ordered"]);
  if (site.tenure !== null && site.tenure !== "owner") found.push(["wait", "Only reads"]);
  return found;
}

export function showFlags(element, site) {
  const found = flags(site);
  const key = found.map(([, text]) => text).join(", ");
  if (element.dataset.said === key) return;
  element.dataset.said = key;
  element.replaceChildren(...found.map(([kind, text]) => node("span", `flag ${kind}`, text)));
}

export function way(kw) {
  if (kw === null || kw === undefined) return null;
  if (Math.abs(kw) < 0.05) return "idle";
  return kw > 0 ? "discharge" : "charge";
}

// Writes text, or a dash with its reason, without touching the page where nothing changed.
export function show(element, text, why = UNKNOWN) {
  const missing = text === null;
  const next = missing ? DASH : text;
  if (element.textContent !== next) element.textContent = next;
  if (missing) element.title = why;
  else element.removeAttribute("title");
  element.classList.toggle("unknown", missing);
}

export function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
