// Wires the live events to the page, and fetches plan, price and history when they change.

import { DayChart } from "./chart.js";
import { clock } from "./format.js";
import { getJson, LiveLink, storeKey, Unauthorized } from "./link.js";
import { Orders } from "./orders.js";
import { showDetail, showHeader, showMarket, showPlanError, showTiles } from "./panels.js";
import { SiteTable } from "./table.js";

const get = (id) => document.getElementById(id);
const LINK_TEXT = {
  connecting: "Connecting", live: "Live", unavailable: "No fleet", lost: "Connection lost", key: "Key needed",
};

const state = { live: null, chosen: null, loaded: {} };
const chart = new DayChart(get("chart"), get("chart-summary"));
const table = new SiteTable(get("rows"), get("empty"), (id) => choose(id, true));
const orders = new Orders(askKey);
const link = new LiveLink({ snapshot: onSnapshot, unavailable: onUnavailable, lost: onLost, unauthorized: askKey });

function setLink(name) {
  if (document.body.dataset.link === name) return;
  document.body.dataset.link = name;
  get("link-text").textContent = LINK_TEXT[name];
}

function onSnapshot(live) {
  if (document.body.dataset.link !== "live") state.loaded = {};
  state.live = live;
  setLink("live");
  get("lost").hidden = true;
  if (!live.sites.some((site) => site.site_id === state.chosen)) state.chosen = live.sites[0]?.site_id ?? null;
  render();
}

function onUnavailable(problem) {
  setLink("unavailable");
  showLost(`No fleet: ${problem.fix ? `${problem.error}; ${problem.fix}` : problem.error}. Retrying`);
}

function onLost(why) {
  setLink("lost");
  showLost(`Connection lost: ${why}. Retrying`);
}

// A number that is no longer fresh is greyed by the style of body[data-link] and dated here.
function showLost(text) {
  const since = state.live === null ? "" : `; numbers are from ${clock(Date.parse(state.live.fleet.clock.market_now))} market time`;
  get("lost").hidden = false;
  const said = `${text}${since}.`;
  if (get("lost").textContent !== said) get("lost").textContent = said;
}

function render() {
  const { fleet, sites } = state.live;
  showHeader(fleet);
  showTiles(fleet);
  showPlanError(fleet.plan_error);
  table.update(sites, state.chosen);
  const site = sites.find((one) => one.site_id === state.chosen);
  orders.update(sites, site);
  get("detail").hidden = site === undefined;
  if (site === undefined) return;
  showDetail(site, fleet.as_of);
  chart.setLive(fleet, site);
  refresh(fleet, site);
}

function choose(id, byUser) {
  if (state.chosen === id) return;
  state.chosen = id;
  chart.clearSite();
  if (state.live !== null) render();
  const box = get("detail").getBoundingClientRect();
  if (byUser && (box.top < 0 || box.bottom > innerHeight + box.height / 2)) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    get("detail").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
}

// One part is fetched again when its key changes; a failed fetch is tried with the next event.
function refresh(fleet, { site_id: siteId, stop }) {
  const site = encodeURIComponent(siteId);
  const hour = fleet.clock.market_now.slice(0, 13);
  load("price", `${fleet.plan_version} ${hour}`, "price", (price) => {
    showMarket(price);
    chart.setPrice(price);
  });
  load("plan", `${siteId} ${fleet.plan_version} ${stop?.active === true}`, `schedule?site_id=${site}`, (plans) => {
    if (state.chosen === siteId) chart.setPlan(plans.schedules[0] ?? null);
  });
  load("history", siteId, `sites/${site}/history`, (history) => {
    if (state.chosen === siteId) chart.setHistory(history.points);
  });
}

async function load(part, key, path, use) {
  if (state.loaded[part] === key) return;
  state.loaded[part] = key;
  try {
    use(await getJson(path));
  } catch (error) {
    if (state.loaded[part] === key) state.loaded[part] = null;
    if (error instanceof Unauthorized) askKey();
  }
}

async function showVersion() {
  try {
    get("version").textContent = `v${(await getJson("version")).bessai}`;
  } catch (error) {
    if (!(error instanceof Unauthorized)) setTimeout(showVersion, 5000);
  }
}

function askKey() {
  setLink("key");
  if (!get("key-dialog").open) get("key-dialog").showModal();
}

get("key-dialog").addEventListener("cancel", (event) => event.preventDefault());
get("key-form").addEventListener("submit", () => {
  storeKey(get("key").value);
  get("key").value = "";
  get("key-text").textContent = "The key was not accepted. It stays in this browser tab only.";
  start();
});

function start() {
  setLink("connecting");
  showVersion();
  link.run();
}

start();
