// Scales, ticks and SVG paths: plain functions from values to coordinates.

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export const linear = (from, to, low, high) => (value) => low + ((value - from) / (to - from)) * (high - low);

// Round steps of 1, 2, 2.5 or 5; returns the widened domain and its ticks.
export function niceDomain(low, high, count) {
  const span = high - low || 1;
  const raw = span / count;
  const magnitude = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * magnitude).find((s) => s >= raw * 0.999);
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, n) => (first + n) * step);
  return { low: first * step, high: last * step, ticks };
}

const point = (x, y) => `${x.toFixed(1)},${y.toFixed(1)}`;

// A line through [x, y] pairs; a null y, or a gap wider than maxGap in x, breaks it.
export function linePath(pairs, maxGap = Infinity) {
  let path = "";
  let before = null;
  for (const [x, y] of pairs) {
    if (y !== null) path += (before === null || x - before > maxGap ? "M" : "L") + point(x, y);
    before = y === null ? null : x;
  }
  return path;
}

// A staircase over [x0, x1, y] steps; a null y breaks it.
export function stepPath(steps) {
  let path = "";
  let before = null;
  for (const [x0, x1, y] of steps) {
    if (y !== null) path += (before === x0 ? "L" : "M") + point(x0, y) + "L" + point(x1, y);
    before = y === null ? null : x1;
  }
  return path;
}

// The area between two staircases over [x0, x1, yLow, yHigh] steps.
export function bandPath(steps) {
  if (!steps.length) return "";
  const over = steps.flatMap(([x0, x1, , high]) => [point(x0, high), point(x1, high)]);
  const back = [...steps].reverse().flatMap(([x0, x1, low]) => [point(x1, low), point(x0, low)]);
  return `M${[...over, ...back].join("L")}Z`;
}
