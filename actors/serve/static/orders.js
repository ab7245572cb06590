// Stop and release: a dialog that asks who and why, and the buttons that open it.

import { show } from "./format.js";
import { postJson, Unauthorized } from "./link.js";

const get = (id) => document.getElementById(id);
const NAME = "bessai-operator";
const TEXT = {
  stop: ["The battery rests at 0 kW until somebody releases it, through restarts of everything.",
    "All batteries rest at 0 kW until somebody releases them, through restarts of everything."],
  release: ["The battery follows its plan again, whoever stopped it.",
    "All batteries follow their plans again, whoever stopped them."],
};
const SHOWN = 6;

const active = (site) => site.stop?.active === true;

// What a release ends: a person must see it before, for others may rely on that stop.
const ending = (sites) => sites.filter(active).map((s) => `${s.site_id}: stopped by ${s.stop.by}: ${s.stop.reason}`);

export class Orders {
  #sites = [];
  #chosen = null;
  #order = null;

  constructor(askKey) {
    this.askKey = askKey;
    get("site-act").addEventListener("click", () => this.#open(this.#chosen));
    get("stop-all").addEventListener("click", () => this.#open(null, true));
    get("release-all").addEventListener("click", () => this.#open(null, false));
    get("order-cancel").addEventListener("click", () => get("order-dialog").close());
    get("order-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  update(sites, chosen) {
    this.#sites = sites;
    this.#chosen = chosen ?? null;
    get("release-all").hidden = !sites.some(active);
    showStops(sites);
    if (chosen === undefined) return;
    const word = active(chosen) ? "Release" : "Stop";
    show(get("site-act"), word);
    get("site-act").setAttribute("aria-label", `${word} ${chosen.site_id}`);
    get("site-act").classList.toggle("danger", word === "Stop");
  }

  #open(site, stop = !active(site)) {
    const [what, path] = site === null ? ["all sites", "fleet"] : [site.site_id, `sites/${encodeURIComponent(site.site_id)}`];
    this.#order = `${path}/${stop ? "stop" : "release"}`;
    const word = `${stop ? "Stop" : "Release"} ${what}`;
    get("order-title").textContent = word;
    get("order-text").textContent = TEXT[stop ? "stop" : "release"][site === null ? 1 : 0];
    const ends = stop ? [] : ending(site === null ? this.#sites : [site]);
    get("order-list").replaceChildren(...lines(ends));
    get("order-go").textContent = word;
    get("order-go").className = stop ? "danger" : "";
    get("order-reason").value = "";
    get("order-by").value = localStorage.getItem(NAME) ?? "";
    this.#fail(null);
    get("order-dialog").showModal();
  }

  async #send() {
    const said = { by: get("order-by").value, reason: get("order-reason").value };
    get("order-go").disabled = true;
    try {
      await postJson(this.#order, said);
      localStorage.setItem(NAME, said.by);
      get("order-dialog").close();
    } catch (error) {
      if (error instanceof Unauthorized) {
        get("order-dialog").close();
        this.askKey();
      } else {
        this.#fail(error.name === "TimeoutError" ? "No answer: it may have been taken or not. Order it again." : error.message);
      }
    } finally {
      get("order-go").disabled = false;
    }
  }

  #fail(text) {
    get("order-error").hidden = text === null;
    get("order-error").textContent = text ?? "";
  }
}

function lines(texts) {
  const more = texts.length > SHOWN ? [`and ${texts.length - SHOWN} more`] : [];
  return [...texts.slice(0, SHOWN), ...more].map((text) => {
    const made = document.createElement("li");
    made.textContent = text;
    return made;
  });
}

function showStops(sites) {
  const told = sites.filter((site) => site.stop && (site.stop.active || !site.stop.obeyed)).map(sentence);
  const box = get("stops");
  const key = told.join("\n");
  if (box.dataset.said === key) return;
  box.dataset.said = key;
  box.hidden = told.length === 0;
  box.replaceChildren(...lines(told));
}

function sentence({ site_id: id, stop }) {
  const did = stop.active ? (stop.kind === "freeze" ? "frozen" : "stopped") : "released";
  const waits = stop.obeyed ? "" : ` (ordered, ${id} does not say yet that it obeys)`;
  return `${id} ${did} by ${stop.by}: ${stop.reason}${waits}`;
}
