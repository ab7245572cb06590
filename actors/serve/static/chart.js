// The day of one site: price with its forecast band above, plan, power and charge below.

import { Day, HOUR_MS } from "./day.js";
import { clock, DASH, day as dayText, fixed, money, node, percent, power, price, way } from "./format.js";
import { bandPath, linear, linePath, niceDomain, stepPath, svg } from "./scale.js";

const MARGIN = { left: 44, right: 42, top: 22, bottom: 26, gap: 30 };
const NARROW_PX = 620;

export class DayChart {
  #day = new Day();
  #cursor = null;
  #pointerX = null;
  #box;
  #summary;
  #tip = node("div", "tip");
  #spoken = node("span", "spoken");

  constructor(box, summary) {
    this.#box = box;
    this.#summary = summary;
    this.#tip.hidden = true;
    this.#spoken.setAttribute("role", "status");
    this.#box.append(this.#tip, this.#spoken);
    new ResizeObserver(() => this.#draw()).observe(box);
    box.addEventListener("pointermove", (event) => this.#point(event));
    box.addEventListener("pointerdown", (event) => this.#point(event));
    box.addEventListener("pointerleave", () => this.#setCursor(null));
    box.addEventListener("blur", () => this.#setCursor(null));
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  setLive(fleet, site) {
    this.#day.setLive(fleet, site);
    this.#draw();
  }

  setPrice(view) {
    this.#day.setPrice(view);
    this.#draw();
  }

  setPlan(view) {
    this.#day.setPlan(view);
    this.#draw();
  }

  setHistory(points) {
    this.#day.setSamples(points);
    this.#draw();
  }

  clearSite() {
    this.#day.clearSite();
  }

  #draw() {
    const [width, height] = [this.#box.clientWidth, this.#box.clientHeight];
    if (this.#day.now === null || width < 50 || height < 50) return;
    const frame = frameOf(this.#day, width, height);
    this.frame = frame;
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    drawing.append(clipOf(frame), ...zones(frame, this.#day), ...timeAxis(frame));
    drawing.append(...pricePanel(frame, this.#day), ...powerPanel(frame, this.#day), ...nowLine(frame, this.#day));
    this.#cross = svg("line", { class: "cross", y1: frame.price.top, y2: frame.power.bottom });
    drawing.append(this.#cross);
    this.#box.querySelector("svg")?.remove();
    this.#box.prepend(drawing);
    this.#summary.textContent = summaryOf(this.#day);
    this.#showCursor();
  }

  #cross = null;

  #point(event) {
    this.#pointerX = event.clientX - this.#box.getBoundingClientRect().left;
    this.#showCursor();
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") this.#setCursor(null);
    if (step === undefined || this.#day.now === null) return;
    event.preventDefault();
    this.#setCursor((this.#cursor ?? this.#day.now) + (step * HOUR_MS) / 2);
    this.#spoken.textContent = this.#tip.innerText;
  }

  #setCursor(moment) {
    this.#pointerX = null;
    this.#cursor = moment;
    this.#showCursor();
  }

  #showCursor() {
    const frame = this.frame;
    if (!frame || !this.#cross) return;
    // Time flows under a resting pointer: it stays where it is and reads another moment.
    if (this.#pointerX !== null) this.#cursor = frame.timeAt(this.#pointerX);
    const inside = this.#cursor !== null && this.#cursor >= frame.from && this.#cursor <= frame.to;
    this.#tip.hidden = !inside;
    this.#cross.classList.toggle("on", inside);
    if (!inside) return;
    const x = frame.x(this.#cursor);
    this.#cross.setAttribute("x1", x);
    this.#cross.setAttribute("x2", x);
    this.#tip.replaceChildren(...tipRows(this.#day, this.#cursor));
    const left = x > frame.width / 2 ? x - this.#tip.offsetWidth - 12 : x + 12;
    this.#tip.style.transform = `translate(${Math.max(2, left)}px, ${frame.price.top}px)`;
  }
}

function frameOf(day, width, height) {
  const narrow = width < NARROW_PX;
  const [back, ahead] = narrow ? [10, 20] : [22, 24];
  const [from, to] = [day.now - back * HOUR_MS, day.now + ahead * HOUR_MS];
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  const inner = height - MARGIN.top - MARGIN.bottom - MARGIN.gap;
  const priceBottom = MARGIN.top + inner * 0.46;
  const x = linear(from, to, left, right);
  const shown = (step) => step.end > from && step.start < to;
  return {
    width, height, narrow, from, to, left, right, x,
    timeAt: (px) => Math.min(Math.max(linear(left, right, from, to)(px), from), to),
    price: priceScale(day, shown, MARGIN.top, priceBottom),
    power: powerScale(day, shown, priceBottom + MARGIN.gap, height - MARGIN.bottom),
  };
}

function priceScale(day, shown, top, bottom) {
  const past = day.past.filter(shown).map((step) => step.price).filter((value) => value !== null);
  const ahead = day.forecast.filter(shown).flatMap((step) => [step.p10, step.p90]);
  const values = [0, ...past, ...ahead, ...(day.fleet.price_now === null ? [] : [day.fleet.price_now])];
  return scaleOf(Math.min(...values), Math.max(10, ...values), top, bottom, 4);
}

function powerScale(day, shown, top, bottom) {
  const planned = day.plan.filter(shown).map((step) => step.kw);
  const values = [...planned, ...day.samples.map((sample) => sample.kw ?? 0), 0];
  const most = Math.max(1, ...values.map(Math.abs)) * 1.04;
  const { low, high, y } = scaleOf(-most, most, top, bottom, 4);
  return { top, bottom, low, high, y, ticks: [low, low / 2, 0, high / 2, high], soc: linear(0, 100, bottom, top) };
}

function scaleOf(min, max, top, bottom, count) {
  const nice = niceDomain(min, max, count);
  return { top, bottom, ...nice, y: linear(nice.low, nice.high, bottom, top) };
}

function clipOf(frame) {
  const clip = svg("clipPath", { id: "inside" });
  clip.append(svg("rect", { x: frame.left, y: 0, width: frame.right - frame.left, height: frame.height }));
  return clip;
}

const path = (className, d) => svg("path", { class: className, d, "clip-path": "url(#inside)" });

function zones(frame, day) {
  return day.zones().map((zone) =>
    svg("rect", {
      class: `zone ${zone.way}`, x: frame.x(zone.start), y: frame.price.top, "clip-path": "url(#inside)",
      width: Math.max(0, frame.x(zone.end) - frame.x(zone.start)), height: frame.power.bottom - frame.price.top,
    }));
}

function timeAxis(frame) {
  const pxPerHour = (frame.right - frame.left) / ((frame.to - frame.from) / HOUR_MS);
  const stepH = [3, 6, 12].find((hours) => hours * pxPerHour >= 52) ?? 24;
  const short = stepH * pxPerHour < 78;
  const first = Math.ceil(frame.from / (stepH * HOUR_MS)) * stepH * HOUR_MS;
  const made = [];
  for (let at = first; at <= frame.to; at += stepH * HOUR_MS) {
    const x = frame.x(at);
    const midnight = at % (24 * HOUR_MS) === 0;
    made.push(svg("line", { class: midnight ? "grid day" : "grid", x1: x, x2: x, y1: frame.price.top, y2: frame.power.bottom }));
    if (x < frame.left + 12 || x > frame.right - 12) continue;
    const text = midnight ? dayText(at, short) : clock(at);
    made.push(svg("text", { class: midnight ? "tick strong" : "tick", x, y: frame.height - 8, "text-anchor": "middle" }, text));
  }
  made.push(svg("text", { class: "tick", x: frame.right + 4, y: frame.height - 8 }, "UTC"));
  return made;
}

function valueAxis(frame, scale, title) {
  const rows = scale.ticks.flatMap((value) => [
    svg("line", { class: value === 0 ? "grid zero" : "grid", x1: frame.left, x2: frame.right, y1: scale.y(value), y2: scale.y(value) }),
    svg("text", { class: "tick", x: frame.left - 6, y: scale.y(value) + 4, "text-anchor": "end" }, fixed(value, Number.isInteger(value) ? 0 : 1)),
  ]);
  return [...rows, svg("text", { class: "axis", x: 2, y: scale.top - 9 }, title)];
}

function pricePanel(frame, day) {
  const { y } = frame.price;
  const span = (step) => [frame.x(step.start), frame.x(step.end)];
  const past = day.past.map((step) => [...span(step), step.price === null ? null : y(step.price)]);
  const band = day.forecast.map((step) => [...span(step), y(step.p10), y(step.p90)]);
  const middle = day.forecast.map((step) => [...span(step), y(step.p50)]);
  return [
    ...valueAxis(frame, frame.price, `Price, ${day.fleet.price_unit}`),
    path("band", bandPath(band)), path("forecast", stepPath(middle)), path("price", stepPath(past)),
  ];
}

function powerPanel(frame, day) {
  const { y, soc, top, bottom } = frame.power;
  const gap = frame.x(day.maxGapMs) - frame.x(0);
  const actual = day.samples.map((s) => [frame.x(s.at), s.kw === null ? null : y(s.kw)]);
  const charge = day.samples.map((s) => [frame.x(s.at), s.soc === null ? null : soc(s.soc)]);
  const planned = day.plan.map((step) => [frame.x(step.end), soc(step.soc)]);
  const last = day.samples.at(-1);
  if (last && last.soc !== null) planned.unshift([frame.x(last.at), soc(last.soc)]);
  const socTicks = [0, 50, 100].map((value) =>
    svg("text", { class: "tick soc", x: frame.right + 6, y: soc(value) + 4 }, `${value}`));
  return [
    ...valueAxis(frame, frame.power, "Power, kW  (+ discharge)"), ...bars(frame, day), ...socTicks,
    svg("text", { class: "axis soc", x: frame.width - 2, y: top - 9, "text-anchor": "end" }, "SoC, %"),
    path("soc planned", linePath(planned.filter(([x]) => x >= frame.x(day.now)))),
    path("soc", linePath(charge, gap)), path("power", linePath(actual, gap)),
    svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: bottom, y2: bottom }),
  ];
}

function bars(frame, day) {
  const { y } = frame.power;
  return day.plan.filter((step) => Math.abs(step.kw) >= 0.05).map((step) => {
    const [x0, x1] = [frame.x(Math.max(step.start, frame.from)), frame.x(step.end)];
    return svg("rect", {
      class: `plan ${step.kw > 0 ? "discharge" : "charge"}`, x: x0 + 0.5, width: Math.max(0, x1 - x0 - 1),
      y: Math.min(y(0), y(step.kw)), height: Math.abs(y(step.kw) - y(0)), "clip-path": "url(#inside)",
    });
  });
}

function nowLine(frame, day) {
  const x = frame.x(day.now);
  const made = [
    svg("line", { class: "now", x1: x, x2: x, y1: frame.price.top, y2: frame.power.bottom }),
    svg("text", { class: "now-text", x: frame.narrow ? x - 6 : x, y: frame.price.top - 8, "text-anchor": frame.narrow ? "start" : "middle" }, `now ${clock(day.now)}`),
  ];
  const dot = (className, cy) => made.push(svg("circle", { class: className, cx: x, cy, r: 3.5 }));
  const last = day.samples.at(-1);
  if (day.fleet.price_now !== null) dot("dot price", frame.price.y(day.fleet.price_now));
  if (last && last.soc !== null) dot("dot soc", frame.power.soc(last.soc));
  if (last && last.kw !== null) dot("dot power", frame.power.y(last.kw));
  return made;
}

function tipRows(day, moment) {
  const { past, forecast, step, sample } = day.reading(moment);
  const rows = [node("strong", "", `${dayText(moment)} ${clock(moment)} UTC`)];
  const add = (name, className, text) => {
    const row = node("span", className);
    row.append(node("span", "", name), node("b", "num", text ?? DASH));
    rows.push(row);
  };
  if (past) add("Price", "k-price", price(past.price));
  if (forecast) {
    add("Forecast", "k-forecast", price(forecast.p50));
    add("p10–p90", "k-band", `${price(forecast.p10)}–${price(forecast.p90)}`);
  }
  if (step) add("Plan", `k-${way(step.kw)}`, power(step.kw, true));
  if (moment <= day.now) {
    add("Power", "k-power", power(sample?.kw ?? null, true));
    add("SoC", "k-soc", percent(sample?.soc ?? null));
  } else if (step) add("Planned SoC", "k-soc", percent(step.soc));
  return rows;
}

function spanText(zone, now) {
  const otherDay = dayText(zone.start) === dayText(now) ? "" : `${dayText(zone.start, true)} `;
  return `${otherDay}${clock(zone.start)}–${clock(zone.end)}`;
}

function summaryOf(day) {
  const spans = (way) =>
    day.zones().filter((zone) => zone.way === way).map((zone) => `${spanText(zone, day.now)}`).join(", ");
  const [charge, discharge] = [spans("charge"), spans("discharge")];
  const parts = [
    day.planInfo === null ? "No plan for this site yet." : `Plan by ${day.planInfo.source}: ${
      [charge && `charge ${charge}`, discharge && `discharge ${discharge}`].filter(Boolean).join("; ") || "stay idle"
    }. Expected ${money(day.planInfo.expected_revenue, day.planInfo.currency)} in 24 h.`,
    day.forecastSource === null ? "No price forecast." : `Price forecast by ${day.forecastSource}.`,
  ];
  if (day.degraded !== null) parts.push(`Forecast is degraded: ${day.degraded}.`);
  return parts.join(" ");
}
