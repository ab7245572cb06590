// Header, tiles and the values of the chosen site.

import {
  celsius, dateTime, duration, energy, follows, money, node, percent, power, price, show, showFlags, way, words,
} from "./format.js";

const get = (id) => document.getElementById(id);
const WAY_TEXT = { charge: "charging", discharge: "discharging", idle: "idle" };

export function showHeader(fleet) {
  show(get("fleet-id"), fleet.fleet_id);
  const now = Date.parse(fleet.clock.market_now);
  show(get("market-time"), dateTime(now));
  get("market-time").dateTime = fleet.clock.market_now;
  get("speed").hidden = !fleet.clock.simulated;
  show(get("speed"), `simulated ×${fleet.clock.speed}`);
  document.title = `${fleet.fleet_id} · BESSAI`;
}

export function showTiles(fleet) {
  showPower(fleet);
  showEnergy(fleet);
  showFlexibility(fleet.flexibility);
  show(get("t-price"), price(fleet.price_now), "the market published no price for this hour");
  show(get("t-price-unit"), fleet.price_unit);
  showEarnings(fleet.earnings);
  showStates(fleet);
}

function showPower(fleet) {
  const direction = way(fleet.active_power_kw);
  show(get("t-power"), power(fleet.active_power_kw, true));
  get("t-power").className = `num ${direction ?? "unknown"}`;
  const grid = power(fleet.grid_power_kw, true);
  const said = direction === null ? null : WAY_TEXT[direction];
  show(get("t-power-sub"), said && (grid === null ? said : `${said}, grid ${grid}`));
}

function showEnergy(fleet) {
  show(get("t-energy"), energy(fleet.energy_kwh));
  get("t-soc-bar").style.width = `${fleet.soc_pct ?? 0}%`;
  const [soc, capacity] = [percent(fleet.soc_pct), energy(fleet.capacity_kwh)];
  show(get("t-energy-sub"), soc === null || capacity === null ? null : `${soc} of ${capacity}`);
}

function showFlexibility(flexibility) {
  show(get("t-flex-up"), flexibility && power(flexibility.up_kw));
  show(get("t-flex-down"), flexibility && power(flexibility.down_kw));
  show(get("t-flex-up-kwh"), flexibility && energy(flexibility.energy_up_kwh));
  show(get("t-flex-down-kwh"), flexibility && energy(flexibility.energy_down_kwh));
}

function showEarnings(earnings) {
  show(get("t-earned"), money(earnings.amount, earnings.currency));
  const sold = `${energy(earnings.exported_kwh)} out, ${energy(earnings.imported_kwh)} in`;
  const unpriced = earnings.unpriced_kwh > 0 ? `, ${energy(earnings.unpriced_kwh)} without a price` : "";
  show(get("t-earned-sub"), sold + unpriced);
}

function showStates(fleet) {
  show(get("t-sites"), `${fleet.sites_reporting} of ${fleet.sites_total}`);
  const counts = Object.entries(fleet.sites_by_state).filter(([, count]) => count > 0);
  show(get("t-sites-sub"), counts.map(([state, count]) => `${count} ${words(state)}`).join(", "));
  get("t-sites-bar").replaceChildren(...counts.map(([state, count]) => {
    const part = node("span", `s-${state}`);
    part.style.flexGrow = String(count);
    return part;
  }));
}

export function showMarket(price) {
  show(get("t-price-sub"), `${words(price.market)}, ${words(price.node)}`);
}

export function showPlanError(text) {
  get("plan-error").hidden = text === null;
  show(get("plan-error"), text === null ? "" : `No new plan: ${text}`);
}

export function showDetail(site, asOf) {
  show(get("detail-title"), site.site_id);
  show(get("detail-state"), words(site.state));
  get("detail-state").className = `pill s-${site.state}`;
  showFlags(get("detail-flags"), site);
  show(get("detail-why"), site.error ?? site.setpoint_reason);
  get("detail-why").classList.toggle("error", site.error !== null);
  showFacts(facts(site, asOf));
}

// How long something has held, by the fleet's wall clock.
const since = (moment, asOf) =>
  moment === null ? "" : `, for ${duration(Math.max(0, Date.parse(asOf) - Date.parse(moment)) / 1000)}`;

function follow(site, asOf) {
  const text = follows(site);
  if (text === null) return null;
  const cause = site.autonomy_cause === null ? "" : `: ${site.autonomy_cause}`;
  return text + since(site.autonomy_since, asOf) + cause;
}

// Only what is out of the ordinary, so that it is seen.
function guards(site, asOf) {
  const found = [];
  if (site.stop !== null) found.push(["Stop", stopped(site, asOf)]);
  if (site.tenure !== null && site.tenure !== "owner") found.push(["Process", reader(site)]);
  if (site.intrusion.length) found.push(["Intrusion", site.intrusion.join("; ")]);
  return found;
}

function reader(site) {
  return `only reads (${words(site.tenure)})${site.tenure_reason === null ? "" : `: ${site.tenure_reason}`}`;
}

function stopped({ stop }, asOf) {
  const did = stop.active ? (stop.kind === "freeze" ? "frozen" : "stopped") : "released";
  return `${did} by ${stop.by}${since(stop.at, asOf)}: ${stop.reason}${stop.obeyed ? "" : ", not obeyed yet"}`;
}

function facts(site, asOf) {
  const { bounds, narrowings } = site;
  return [
    ["State of charge", percent(site.soc_pct, 1)],
    ["Power", power(site.active_power_kw, true)],
    ["Grid connection", power(site.grid_power_kw, true)],
    ["Setpoint", power(site.setpoint_kw, true)],
    ["Follows", follow(site, asOf)],
    ...guards(site, asOf),
    ["Allowed", bounds && `${power(bounds.lower_kw, true)} to ${power(bounds.upper_kw, true)}`],
    ["Limited by", narrowings.length ? narrowings.map((n) => n.text).join("; ") : bounds && "nothing"],
    ["Capacity", energy(site.capacity_kwh)],
    ["Temperature", celsius(site.temperature_c)],
    ["Battery", site.battery_status && words(site.battery_status)],
    ["Alarms", site.reading_age_s === null ? null : site.alarms.map(words).join(", ") || "none"],
    ["Reading age", duration(site.reading_age_s)],
    ["Device", `${words(site.profile)}, ${site.address}`],
  ];
}

function showFacts(pairs) {
  const list = get("facts");
  const names = pairs.map(([name]) => name);
  if (list.dataset.names !== String(names)) {
    list.dataset.names = String(names);
    list.replaceChildren(...names.map(fact));
  }
  pairs.forEach(([, text], index) => show(list.children[index].lastElementChild, text));
}

function fact(name) {
  const box = node("div");
  box.append(node("dt", "", name), node("dd", "num"));
  return box;
}
