// What is known about one site's day: prices, plan and samples, and what holds at a moment.

export const HOUR_MS = 3_600_000;
const THIN_MS = 180_000;
const SAMPLES_MISSED = 6;
const IDLE_KW = 0.05;

const at = (text) => Date.parse(text);
const covering = (steps, moment) => steps.find((step) => step.start <= moment && moment < step.end) ?? null;

export class Day {
  now = null;
  fleet = null;
  past = [];
  forecast = [];
  forecastSource = null;
  degraded = null;
  plan = [];
  planInfo = null;
  samples = [];
  #spacingMs = THIN_MS;

  setPrice(view) {
    const stepMs = view.step_s * 1000;
    this.past = view.history.map((p) => ({ start: at(p.start), end: at(p.start) + stepMs, price: p.price }));
    const steps = view.forecast?.steps ?? [];
    this.forecast = steps.map((s) => ({ ...s, start: at(s.start), end: at(s.start) + stepMs }));
    this.forecastSource = view.forecast?.source ?? null;
    this.degraded = view.forecast?.degraded ?? null;
  }

  setPlan(view) {
    this.planInfo = view;
    this.plan = (view?.intervals ?? []).map((i) => ({
      start: at(i.start), end: at(i.end), kw: i.power_kw, soc: i.soc_end_pct,
    }));
  }

  setSamples(points) {
    const loaded = points.map((p) => ({ at: at(p.market_at), kw: p.active_power_kw, soc: p.soc_pct }));
    const newest = loaded.at(-1)?.at ?? -Infinity;
    const gaps = loaded.slice(1).map((sample, n) => sample.at - loaded[n].at);
    this.#spacingMs = gaps.length ? Math.max(THIN_MS, Math.min(...gaps)) : THIN_MS;
    this.samples = [...loaded, ...this.samples.filter((sample) => sample.at > newest)];
  }

  setLive(fleet, site) {
    this.fleet = fleet;
    this.now = at(fleet.clock.market_now);
    this.samples = this.samples.filter((sample) => sample.at > this.now - 26 * HOUR_MS && sample.at <= this.now);
    const [last, before] = [this.samples.at(-1), this.samples.at(-2)];
    const dense = last && before && last.at - before.at < THIN_MS && (last.soc === null) === (site.soc_pct === null);
    if (dense) this.samples.pop();
    this.samples.push({ at: this.now, kw: site.active_power_kw, soc: site.soc_pct });
  }

  clearSite() {
    this.setPlan(null);
    this.samples = [];
  }

  // Longest time between samples that still is one line: a silent site, or a page that was away,
  // leaves a gap.
  get maxGapMs() {
    return SAMPLES_MISSED * Math.max(this.#spacingMs, 1000 * (this.fleet?.clock.speed ?? 1));
  }

  // Neighbouring steps of the same direction, for zones and for the summary.
  zones() {
    const found = [];
    for (const step of this.plan) {
      if (Math.abs(step.kw) < IDLE_KW) continue;
      const [way, last] = [step.kw > 0 ? "discharge" : "charge", found.at(-1)];
      if (last && last.way === way && last.end === step.start) last.end = step.end;
      else found.push({ way, start: step.start, end: step.end });
    }
    return found;
  }

  reading(moment) {
    const past = covering(this.past, moment);
    const forecast = covering(this.forecast, moment);
    const step = covering(this.plan, moment);
    const sample = moment <= this.now ? this.#nearest(moment) : null;
    return { moment, past, forecast, step, sample };
  }

  #nearest(moment) {
    let best = null;
    for (const sample of this.samples) {
      if (!best || Math.abs(sample.at - moment) < Math.abs(best.at - moment)) best = sample;
    }
    return best && Math.abs(best.at - moment) <= this.maxGapMs / 2 ? best : null;
  }
}
