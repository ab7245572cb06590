// The table of sites: rows are kept and updated in place, so that focus and reading survive.

import { follows, money, node, percent, power, show, showFlags, way, words } from "./format.js";

const LABELS = ["Site", "State", "State of charge", "Power", "Setpoint", "Why", "Follows", "Earned"];

function cell(index, className, ...children) {
  const made = node("td", className);
  made.setAttribute("role", "cell");
  made.dataset.label = LABELS[index];
  made.append(...children);
  return made;
}

class Row {
  constructor(siteId, choose) {
    this.element = node("tr");
    this.element.setAttribute("role", "row");
    this.element.dataset.site = siteId;
    this.button = node("button", "pick", siteId);
    this.button.type = "button";
    this.profile = node("span", "muted small");
    this.state = node("span", "pill");
    this.flags = node("span", "flags");
    this.soc = node("span", "num");
    this.bar = node("span", "fill");
    this.power = node("span", "num");
    this.setpoint = node("span", "num");
    this.why = node("span", "reason");
    this.error = node("span", "error");
    this.autonomy = node("span");
    this.cause = node("span", "cause small");
    this.earned = node("span", "num");
    this.element.append(...this.#cells());
    this.element.addEventListener("click", () => choose(siteId));
    this.element.addEventListener("keydown", (event) => moveFocus(event, this.element));
  }

  #cells() {
    const head = node("th", "c-site");
    head.scope = "row";
    head.setAttribute("role", "rowheader");
    head.append(this.button, this.profile);
    const gauge = node("span", "gauge");
    gauge.setAttribute("aria-hidden", "true");
    gauge.append(this.bar);
    return [
      head,
      cell(1, "c-state", this.state, this.flags),
      cell(2, "c-soc", gauge, this.soc),
      cell(3, "c-power right", this.power),
      cell(4, "c-setpoint right", this.setpoint),
      cell(5, "c-why", this.why, this.error),
      cell(6, "c-follows", this.autonomy, this.cause),
      cell(7, "c-earned right", this.earned),
    ];
  }

  update(site, chosen) {
    this.element.classList.toggle("chosen", chosen);
    this.button.setAttribute("aria-pressed", String(chosen));
    show(this.profile, words(site.profile));
    show(this.state, words(site.state));
    this.state.className = `pill s-${site.state}`;
    show(this.soc, percent(site.soc_pct));
    this.bar.style.width = `${site.soc_pct ?? 0}%`;
    this.bar.parentElement.classList.toggle("unknown", site.soc_pct === null);
    show(this.power, power(site.active_power_kw, true));
    this.power.className = `num ${way(site.active_power_kw) ?? "unknown"}`;
    show(this.setpoint, power(site.setpoint_kw, true));
    show(this.why, site.setpoint_reason);
    this.why.hidden = site.setpoint_reason === null && site.error !== null;
    show(this.error, site.error ?? "");
    this.error.hidden = site.error === null;
    showFlags(this.flags, site);
    show(this.autonomy, follows(site));
    const lesser = site.autonomy !== null && site.autonomy !== "fleet" &&
      site.autonomy_cause !== null && site.autonomy_cause !== site.setpoint_reason;
    show(this.cause, lesser ? site.autonomy_cause : "");
    this.cause.hidden = !lesser;
    show(this.earned, money(site.earnings.amount, site.earnings.currency));
  }
}

function moveFocus(event, row) {
  const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
  if (!next) return;
  event.preventDefault();
  next.querySelector(".pick").focus();
}

export class SiteTable {
  #rows = new Map();

  constructor(body, empty, choose) {
    this.body = body;
    this.empty = empty;
    this.choose = choose;
  }

  update(sites, chosenId) {
    this.empty.hidden = sites.length > 0;
    const present = new Set(sites.map((site) => site.site_id));
    for (const [id, row] of this.#rows) if (!present.has(id)) this.#drop(id, row);
    for (const site of sites) this.#row(site.site_id).update(site, site.site_id === chosenId);
  }

  #row(id) {
    if (!this.#rows.has(id)) {
      const row = new Row(id, this.choose);
      this.#rows.set(id, row);
      this.body.append(row.element);
    }
    return this.#rows.get(id);
  }

  #drop(id, row) {
    row.element.remove();
    this.#rows.delete(id);
  }
}

