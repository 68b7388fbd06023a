// The browser's side of the event bus: events come in over one WebSocket, each event that goes out is one POST.

/**
 * @typedef {{ name: string, data: any, context: Record<string, string>, id: string,
 *             seq?: number, time?: string, source?: string }} BusEvent
 *   `seq`, `time` and `source` are the bus's.
 * @typedef {{ id: string, seq: number, duplicate?: boolean }} Receipt
 * @typedef {"closed" | "connecting" | "connected" | "reconnecting" | "refused"} Status
 * @typedef {{ token?: string, after?: number, epoch?: string }} Session
 *   `after` is the last `seq` seen in the log `epoch`.
 * @typedef {{ event: BusEvent, renewed: boolean, failures: number, receipt: Promise<Receipt>,
 *             resolve: (receipt: Receipt) => void, reject: (error: Error) => void }} Post
 *   With more `failures` than `PATIENCE` it stands aside.
 */

const TIMEOUT = 10_000; // ms, for an identification, an answer, a sign of life
const QUIET = 20_000; // ms without a frame, after which a sign is asked for
const PROOF = 5_000; // ms after which a connection was no failure
const PATIENCE = 5; // failures, after which it is found out if the event is to blame
const REST = 60_000; // ms until what stands aside is tried again
const DO_NOT_COME_BACK = [1003, 1007, 1009, 4403]; // close codes

/** Full jitter: a thousand pages must not come back in the same moment. */
const fullJitter = (/** @type {number} */ failures) => Math.random() * Math.min(5_000, 500 * 2 ** failures);

export class EventBus {
  #retryDelay;
  #mark = newMark(); // the ids of what this page sends begin with it
  #sent = 0;
  /** The ids of what was sent and is still to come back. @type {Set<string>} */
  #echoes = new Set();
  /** @type {Map<string, Set<(event: BusEvent) => void>>} */
  #handlers = new Map();
  /** @type {Set<(status: Status) => void>} */
  #statusHandlers = new Set();
  /** @type {Set<(why: "lost" | "copied") => void>} */
  #gapHandlers = new Set();
  /** @type {Set<(event: BusEvent) => void>} */
  #stuckHandlers = new Set();
  /** @type {Status} */
  #status = "closed";
  /** @type {Session} */
  #session = {};
  #place = ""; // in the storage
  #owner = "";
  /** @type {Promise<void> | undefined} */
  #claimed;
  #release = () => {};
  /** @type {WebSocket | undefined} */
  #socket;
  #socketTimer = 0;
  #isDoubted = false;
  #socketFailures = 0;
  #connectedAt = 0;
  /** What waits to be published, in the order it was sent. @type {Set<Post>} */
  #outbox = new Set();
  #publishing = false;
  #pause = 0;
  #rest = 0;
  #publishFailures = 0;
  #room = 0; // bytes
  #maxEvent = Infinity; // bytes; until the bus has said it

  /**
   * @param {string} url where the bus is, such as "http://localhost:3001"
   * @param {{ retryDelay?: (failures: number) => number }} [options] `retryDelay` in ms
   */
  constructor(url, { retryDelay = fullJitter } = {}) {
    this.url = url.replace(/\/$/, "");
    this.#retryDelay = retryDelay;
  }

  get status() {
    return this.#status;
  }

  connect() {
    if (this.#status !== "closed" && this.#status !== "refused") return;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    addEventListener("pagehide", this.#leave);
    this.#rest = setInterval(() => this.#tryAside(), REST);
    this.#claimed = this.#claim(this.#rest);
    this.#setStatus("connecting");
    this.#open();
  }

  /** Leave the bus. What still waits to be published is given up: its promises reject. */
  close() {
    this.#stop("closed");
  }

  /**
   * Call `handler` for every event called `name`; call the result to stop.
   * @param {string} name
   * @param {(event: BusEvent) => void} handler
   * @returns {() => void}
   */
  on(name, handler) {
    const handlers = this.#handlers.get(name) ?? new Set();
    this.#handlers.set(name, handlers.add(handler));
    return () => handlers.delete(handler);
  }

  /**
   * Call `handler` with the status as it is and whenever it changes; call the result to stop.
   * @param {(status: Status) => void} handler
   * @returns {() => void}
   */
  onStatus(handler) {
    this.#statusHandlers.add(handler);
    callAll([handler], this.#status);
    return () => this.#statusHandlers.delete(handler);
  }

  /**
   * Call `handler` when events for this page may be gone for good: "lost", or left to the tab it was "copied" from, as
   * another client; call the result to stop.
   * @param {(why: "lost" | "copied") => void} handler
   * @returns {() => void}
   */
  onGap(handler) {
    this.#gapHandlers.add(handler);
    return () => this.#gapHandlers.delete(handler);
  }

  /**
   * Call `handler` with an event that does not get through while others do, each time it was tried; call the result to
   * stop. It stays kept.
   * @param {(event: BusEvent) => void} handler
   * @returns {() => void}
   */
  onStuck(handler) {
    this.#stuckHandlers.add(handler);
    return () => this.#stuckHandlers.delete(handler);
  }

  /**
   * Tell this page's listeners at once, and the bus as soon as it can be reached.
   * @param {string} name
   * @param {unknown} [data]
   * @param {{ id?: string }} [options] `id`: what this client sends by the same id is one event, with one receipt
   * @returns {Promise<Receipt>} fulfilled once the event is durable, rejected if the bus refuses it
   */
  async send(name, data = null, { id = `${this.#mark}-${++this.#sent}` } = {}) {
    // Copied by way of JSON: listeners here get what others get, and the caller may change its object.
    const event = JSON.parse(JSON.stringify({ name, data, context: {}, id }));
    const waiting = this.#waiting(id);
    if (waiting) return waiting.receipt;
    this.#echoes.add(id);
    this.#tell(event);
    if (this.#status === "refused") throw new Error("the bus has refused this page");
    const post = toPost(event);
    this.#outbox.add(post);
    this.#keepOutbox();
    this.#sendOff(post);
    this.#publishWaiting();
    return post.receipt;
  }

  // The connection.

  #open() {
    const socket = new WebSocket(this.url.replace(/^http/, "ws") + "/ws");
    this.#socket = socket;
    this.#socketTimer = setTimeout(() => this.#lost(), TIMEOUT);
    // Undefined fields vanish: at first, this asks for a token.
    socket.onopen = async () => {
      await this.#claimed;
      if (socket === this.#socket) socket.send(JSON.stringify({ ...this.#session, action: "identify" }));
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#lost(code);
  }

  #lost(code = 1006) {
    if (this.#status === "connected" && Date.now() - this.#connectedAt >= PROOF) this.#socketFailures = 0;
    if (DO_NOT_COME_BACK.includes(code)) this.#stop("refused");
    else this.#reconnect(this.#retryDelay(this.#socketFailures++));
  }

  /** @param {number} delay */
  #reconnect(delay) {
    this.#drop();
    this.#setStatus("reconnecting");
    this.#socketTimer = setTimeout(() => this.#open(), delay);
  }

  #drop() {
    clearTimeout(this.#socketTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  // "online": a socket that looks open may have died with the old network.
  #wake = (/** @type {Event} */ { type }) => {
    const isVisible = document.visibilityState === "visible";
    if (isVisible) this.#room = 0;
    if (type === "online" || (isVisible && !this.#socket)) this.#reconnect(0);
    else if (isVisible) this.#askForASign();
  };

  // Networks vanish without a word. So a socket must prove that it lives.

  #seemsAlive() {
    this.#isDoubted = false;
    clearTimeout(this.#socketTimer);
    this.#socketTimer = setTimeout(() => this.#askForASign(), QUIET);
  }

  #askForASign() {
    if (this.#status !== "connected") return;
    this.#socket?.send('{"action":"ping"}'); // which the bus answers
    this.#mustGiveASign();
  }

  #mustGiveASign() {
    if (this.#isDoubted) return;
    this.#isDoubted = true;
    clearTimeout(this.#socketTimer);
    this.#socketTimer = setTimeout(() => this.#lost(), TIMEOUT);
  }

  /** @param {"closed" | "refused"} status */
  #stop(status) {
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    removeEventListener("pagehide", this.#leave);
    clearInterval(this.#rest);
    this.#rest = 0;
    this.#drop();
    this.#setStatus(status);
    for (const post of this.#outbox) post.reject(new Error(`the connection to the bus is ${status}`));
    this.#outbox.clear();
    this.#keepOutbox();
    this.#place = "";
    held.delete(this.#owner);
    this.#release();
  }

  /** @param {Status} status */
  #setStatus(status) {
    if (status === this.#status) return;
    this.#status = status;
    callAll(this.#statusHandlers, status);
  }

  // What comes in.

  /** @param {any} frame an answer (it has an action) or an event */
  #receive(frame) {
    if (frame.action === "identify" && frame.token) this.#identified(frame);
    else if (frame.action === "identify") this.#beginAnew();
    else if (frame.name) this.#hear(frame);
    if (this.#status === "connected") this.#seemsAlive();
  }

  /**
   * @param {{ token: string, resumed: boolean, seq: number, epoch: string, max_event?: number, gap?: boolean,
   *           oldest?: number }} answer
   */
  #identified({ token, resumed, seq, epoch, max_event = Infinity, gap, oldest }) {
    this.#connectedAt = Date.now();
    this.#maxEvent = max_event;
    const goesOn = resumed && epoch === this.#session.epoch;
    const isNobody = this.#session.token !== undefined && !resumed; // what was addressed to it stays where it is
    const cursor = goesOn ? this.#session.after : seq;
    this.#remember({ token, epoch, after: gap && oldest !== undefined ? oldest - 1 : cursor });
    this.#setStatus("connected");
    if (gap || isNobody) callAll(this.#gapHandlers, "lost");
    this.#resumePublishing();
    this.#tryAside();
  }

  /** The bus does not take this identity. If that goes on, ask for another; "" says there was one. */
  #beginAnew() {
    if (this.#socketFailures > 1) this.#remember({ token: this.#session.token && "" });
    this.#lost();
  }

  /** @param {BusEvent & { seq: number }} event */
  #hear(event) {
    if (event.seq <= (this.#session.after ?? 0)) return; // told before
    this.#remember({ ...this.#session, after: event.seq });
    const isOwn = event.source === "client";
    if (isOwn) this.#noteEcho(event);
    const isEcho = isOwn && this.#echoes.delete(event.id);
    if (!isEcho) this.#tell(event);
  }

  /** As good as a receipt: the answer to its POST may be late, or lost. @param {Receipt} echo */
  #noteEcho({ id, seq }) {
    const post = this.#waiting(id);
    if (!post) return;
    this.#settle(post);
    post.resolve({ id, seq });
  }

  /** @param {BusEvent} event */
  #tell(event) {
    callAll(this.#handlers.get(event.name) ?? [], event);
  }

  // What goes out: one POST after the other, to keep the order, and only while connected: answers need a way back.

  async #publishWaiting() {
    if (this.#publishing || this.#pause) return;
    this.#publishing = true;
    for (const post of this.#outbox) { // also reaches what is added meanwhile
      if (post.failures > PATIENCE) continue;
      if (this.#status !== "connected" || !(await this.#publish(post))) break;
    }
    this.#publishing = false;
  }

  #resumePublishing() {
    clearTimeout(this.#pause);
    this.#pause = 0;
    this.#publishWaiting();
  }

  async #tryAside() {
    for (const post of this.#outbox) {
      if (post.failures > PATIENCE && this.#status === "connected") await this.#publish(post);
    }
  }

  /**
   * @param {Post} post
   * @returns {Promise<boolean>} whether the next may follow
   */
  async #publish(post) {
    const token = this.#session.token ?? "";
    const { status, isBusy, retryAfter, body } = await this.#post(this.#textOf(post));
    if (!this.#outbox.has(post)) return true; // settled meanwhile
    if (status === 401 && !post.renewed) return this.#renew(post, token);
    if (mayPass(status, body)) return this.#publishLater(post, isBusy, retryAfter);
    this.#publishFailures = 0;
    this.#settle(post);
    // Its echo comes over the socket, unless that is dead.
    const isAwaited = body.seq > (this.#session.after ?? 0);
    if (!isAwaited) this.#echoes.delete(post.event.id);
    else if (this.#status === "connected") this.#mustGiveASign();
    if (status === 200) post.resolve(body);
    else post.reject(new Error(body.detail ?? `the bus answered ${status}`, { cause: body }));
    return true;
  }

  /** @param {Post} post it does not wait any more */
  #settle(post) {
    this.#outbox.delete(post);
    this.#keepOutbox();
  }

  /** @param {string} id */
  #waiting(id) {
    return [...this.#outbox].find(({ event }) => event.id === id);
  }

  /**
   * The token has expired: identify anew, and try once more.
   * @param {Post} post
   * @param {string} token
   */
  async #renew(post, token) {
    if (this.#status !== "connected") return false; // about to identify anyway
    post.renewed = true;
    if (token !== this.#session.token) return this.#publish(post); // has happened meanwhile
    this.#reconnect(0);
    return false;
  }

  /**
   * @param {Post} post
   * @param {boolean} isBusy the bus itself said so
   * @param {number} retryAfter seconds
   */
  async #publishLater(post, isBusy, retryAfter) {
    post.failures = isBusy ? 0 : post.failures + 1;
    if (post.failures === PATIENCE) {
      const { status, body } = await this.#post("[]"); // refused, if it gets there
      // If this one, tried once more, does not, it is to blame.
      if (!mayPass(status, body)) return !this.#outbox.has(post) || this.#publish(post);
      post.failures--;
    }
    if (post.failures > PATIENCE) {
      this.#keepOutbox();
      callAll(this.#stuckHandlers, post.event);
      return true;
    }
    const delay = retryAfter * 1000 + this.#retryDelay(this.#publishFailures++);
    this.#pause = setTimeout(() => this.#resumePublishing(), delay);
    return false;
  }

  /** @param {string} text */
  async #post(text) {
    const { size } = new Blob([text]);
    const tooLarge = { detail: `the event has ${size} bytes; the bus takes ${this.#maxEvent}` };
    if (size > this.#maxEvent) return { status: 413, isBusy: false, retryAfter: 0, body: tooLarge };
    try {
      const headers = { "Content-Type": "application/json" };
      const signal = AbortSignal.timeout(TIMEOUT);
      const answer = await fetch(this.url, { method: "POST", headers, body: text, signal, redirect: "error" });
      const { status } = answer;
      const isOwn = answer.headers.get("Content-Type")?.startsWith("application/problem+json");
      const isBusy = [408, 429, 503].includes(status) && !!isOwn;
      const asked = Number(answer.headers.get("Retry-After")) || 0;
      const retryAfter = Math.min(Math.max(asked, 0), 60);
      const body = (await answer.json().catch(() => null)) ?? {};
      return { status, isBusy, retryAfter, body };
    } catch {
      return { status: 0, isBusy: false, retryAfter: 0, body: {} };
    }
  }

  // When the page is left, what waits goes out one by one: what is refused takes no others along. It also stays kept.

  #leave = () => {
    this.#room = 65_536; // which browsers allow
    for (const post of this.#outbox) this.#sendOff(post);
  };

  /** @param {Post} post */
  #sendOff(post) {
    const body = this.#textOf(post); // plain text needs no preflight
    const { size } = new Blob([body]);
    if (size > this.#room || this.#status !== "connected" || post.failures > PATIENCE) return;
    this.#room -= size;
    fetch(this.url, { method: "POST", body, keepalive: true, redirect: "error" }).catch(() => {});
  }

  /** @param {Post} post */
  #textOf({ event }) {
    return JSON.stringify({ ...event, context: { identifier: this.#session.token ?? "" } });
  }

  // What a reload keeps, where storage works. An identity and its outbox are one live instance's: others on this page have
  // other places, and a tab that was duplicated, storage and all, begins anew.

  /** @param {number} visit another one once this instance has left */
  async #claim(visit) {
    let isCopy = false;
    // Frames share the page's storage.
    for (let number = self === top ? 0 : 1000; !this.#place; ) {
      const place = number ? `${this.url} ${number}` : this.url;
      let owner = recall("owner", place);
      if (held.has(owner)) {
        number++;
        continue;
      }
      if (isCopy || typeof owner !== "string") keep("owner", place, (owner = newMark()));
      held.add((this.#owner = owner));
      const release = await lock(owner);
      if (visit !== this.#rest) return release?.();
      if (release) {
        this.#release = release;
        this.#takeOver(place, isCopy);
      } else {
        held.delete(owner);
        isCopy = true;
      }
    }
  }

  /**
   * @param {string} place
   * @param {boolean} isCopy
   */
  #takeOver(place, isCopy) {
    this.#place = place;
    const sent = [...this.#outbox];
    this.#outbox.clear();
    for (const kept of isCopy ? [] : [recall("outbox", place)].flat()) {
      if (!kept?.id) continue; // not written here
      const { failures = 0, ...event } = kept;
      this.#outbox.add(sent.find((post) => post.event.id === event.id) ?? toPost(event, failures));
    }
    for (const post of sent) this.#outbox.add(post);
    this.#keepOutbox();
    this.#remember(isCopy ? {} : recall("session", place));
    if (isCopy) callAll(this.#gapHandlers, "copied");
  }

  /** @param {Session} session */
  #remember(session) {
    this.#session = session;
    if (this.#place) keep("session", this.#place, session);
  }

  #keepOutbox() {
    const posts = Array.from(this.#outbox, ({ event, failures }) => ({ ...event, failures }));
    if (this.#place) keep("outbox", this.#place, posts);
  }
}

// (Plain http beyond localhost has no randomUUID.)
const newMark = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** Of places on this page, for other copies of this module, too. @type {Set<string>} */
const held = (/** @type {any} */ (self)[Symbol.for("eventbus")] ??= new Set());

/**
 * Be the only one. (Plain http beyond localhost has no locks.)
 * @param {string} owner
 * @returns {Promise<(() => void) | undefined>} lets go; undefined if another page holds it
 */
const lock = (owner) =>
  new Promise((resolve) => {
    const signal = AbortSignal.timeout(2_000); // for a page that is being left to let go
    const hold = () => new Promise((release) => resolve(() => release(0)));
    const asked = navigator.locks?.request(`eventbus ${owner}`, { signal }, hold) ?? Promise.reject();
    asked.catch(() => resolve(signal.aborted ? undefined : () => {}));
  });

/**
 * @param {"owner" | "session" | "outbox"} what
 * @param {string} place
 * @param {unknown} value
 */
function keep(what, place, value) {
  try {
    sessionStorage.setItem(`eventbus ${what} ${place}`, JSON.stringify(value));
  } catch {}
}

/**
 * @param {"owner" | "session" | "outbox"} what
 * @param {string} place
 * @returns {any} an empty object if there is none
 */
function recall(what, place) {
  try {
    return JSON.parse(sessionStorage.getItem(`eventbus ${what} ${place}`) ?? "{}") ?? {};
  } catch {
    return {};
  }
}

/**
 * @param {BusEvent} event
 * @param {number} [failures]
 * @returns {Post}
 */
function toPost(event, failures = 0) {
  const post = /** @type {Post} */ ({ event, renewed: false, failures });
  post.receipt = new Promise((resolve, reject) => Object.assign(post, { resolve, reject }));
  post.receipt.catch(() => {}); // after a reload nobody may be waiting for it
  return post;
}

/**
 * Whether the same POST may succeed later. A 200 without a `seq` is not the bus's.
 * @param {number} status
 * @param {any} body
 */
const mayPass = (status, { seq }) =>
  status === 200 ? !Number.isInteger(seq) : [0, 408, 429].includes(status) || status >= 500;

/**
 * Call each handler; one that throws is reported, and stops nobody.
 * @template T
 * @param {Iterable<(value: T) => void>} handlers
 * @param {T} value
 */
function callAll(handlers, value) {
  for (const handler of [...handlers]) {
    try {
      handler(value);
    } catch (error) {
      reportError(error);
    }
  }
}
