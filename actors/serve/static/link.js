// Talks to the API: JSON by fetch, events by a streamed fetch, which can carry the key in a
// header (EventSource cannot) and notices a silent connection.

const KEY_NAME = "bessai-api-key";
const SILENCE_MS = 6000;
const RETRY_MAX_MS = 5000;

export class Unauthorized extends Error {}

export const storeKey = (key) => sessionStorage.setItem(KEY_NAME, key);

function headers(accept) {
  const key = sessionStorage.getItem(KEY_NAME);
  return key ? { Accept: accept, "X-API-Key": key } : { Accept: accept };
}

async function request(path, accept, signal, order = {}) {
  const answer = await fetch(`api/v1/${path}`, { headers: headers(accept), cache: "no-store", signal, ...order });
  if (answer.status === 401) throw new Unauthorized("key missing or wrong");
  if (!answer.ok) throw new Error(await problemText(answer));
  return answer;
}

async function problemText(answer) {
  try {
    const problem = await answer.json();
    return problem.fix ? `${problem.error}; ${problem.fix}` : problem.error;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

export const getJson = async (path) =>
  (await request(path, "application/json", AbortSignal.timeout(8000))).json();

export async function postJson(path, body) {
  const sent = { ...headers("application/json"), "Content-Type": "application/json" };
  const order = { method: "POST", headers: sent, body: JSON.stringify(body) };
  return (await request(path, "application/json", AbortSignal.timeout(8000), order)).json();
}

// Splits a text stream into events; see https://html.spec.whatwg.org/multipage/server-sent-events.html
export class EventParser {
  #rest = "";

  push(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(parseBlock);
  }
}

function parseBlock(block) {
  const event = { name: "message", data: "", retry: null };
  for (const line of block.split("\n")) {
    const [field, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()];
    if (field === "event") event.name = value;
    if (field === "data") event.data += value;
    if (field === "retry") event.retry = Number(value);
  }
  return event;
}

// Calls on.snapshot(live), on.unavailable(problem), on.lost(text, waitMs), on.unauthorized().
export class LiveLink {
  #on;
  #retryMs = 1000;
  #failures = 0;
  #running = false;

  constructor(on) {
    this.#on = on;
  }

  async run() {
    if (this.#running) return;
    this.#running = true;
    for (;;) {
      try {
        if (await this.#readOnce()) continue;
        this.#failures += 1;
        this.#on.lost("the server closed the connection");
      } catch (error) {
        if (error instanceof Unauthorized) {
          this.#running = false;
          this.#on.unauthorized();
          return;
        }
        this.#failures += 1;
        this.#on.lost(error.name === "AbortError" ? "the server went silent" : "the server does not answer");
      }
      const wait = Math.min(this.#retryMs * this.#failures, RETRY_MAX_MS);
      await new Promise((resolve) => setTimeout(resolve, wait * (0.8 + 0.4 * Math.random())));
    }
  }

  // Reads until the stream ends; true where the server only wants it to be opened anew.
  async #readOnce() {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const reset = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    try {
      const answer = await request("events", "text/event-stream", silence.signal);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new EventParser();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return false;
        for (const event of parser.push(value)) {
          if (event.name === "renew") return true;
          if (this.#dispatch(event)) reset();
        }
      }
    } finally {
      clearTimeout(timer);
      silence.abort();
    }
  }

  // A keep-alive proves a connection, not fresh numbers: only a real event resets the silence.
  #dispatch(event) {
    if (event.retry) this.#retryMs = event.retry;
    if (!event.data) return false;
    this.#failures = 0;
    if (event.name === "snapshot") this.#on.snapshot(JSON.parse(event.data));
    if (event.name === "unavailable") this.#on.unavailable(JSON.parse(event.data));
    return true;
  }
}
