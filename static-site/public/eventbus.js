// The browser's side of the event bus: events come in over one WebSocket, each event that goes out is one POST.
// What a page makes of the events is not in here: see app.js.

/**
 * @typedef {{ name: string, data: any, context: Record<string, string>, id: string,
 *             seq?: number, time?: string, source?: string }} BusEvent
 *   `seq`, `time` and `source` are the bus's word: an event of this page that its listeners see at once has none yet.
 * @typedef {{ id: string, seq: number, duplicate?: boolean }} Receipt
 * @typedef {"closed" | "connecting" | "connected" | "reconnecting" | "refused"} Status
 *   "refused": the bus closed the connection in a way that coming back would not change.
 * @typedef {{ token?: string, after?: number, epoch?: string }} Session
 *   What resumes an identity: its token, and its cursor (the last `seq` seen) in the log called `epoch`.
 * @typedef {{ event: BusEvent, renewed: boolean, resolve: (receipt: Receipt) => void, reject: (error: Error) => void }} Post
 */

const TIMEOUT = 10_000; // ms, for a connection to be identified, a POST to be answered, a quiet socket to give a sign
const QUIET = 20_000; // ms without a frame, after which a socket is asked for a sign
const PROOF = 5_000; // ms that a connection must last to end the count of failures
const DO_NOT_COME_BACK = [1003, 1007, 1009, 4403]; // close codes

/** Full jitter: a thousand pages that lost the same bus must not all come back in the same moment. */
const fullJitter = (/** @type {number} */ failures) => Math.random() * Math.min(5_000, 500 * 2 ** failures);

export class EventBus {
  #retryDelay;
  // The ids of what this page sends begin with it. (randomUUID is missing on plain http beyond localhost.)
  #mark = crypto.getRandomValues(new Uint32Array(4)).join("-");
  #sent = 0;
  /** @type {Map<string, Set<(event: BusEvent) => void>>} */
  #handlers = new Map();
  /** @type {Set<(status: Status) => void>} */
  #statusHandlers = new Set();
  /** @type {Set<() => void>} */
  #gapHandlers = new Set();
  /** @type {Status} */
  #status = "closed";
  /** @type {Session} */
  #session;
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
  #publishFailures = 0;

  /**
   * @param {string} url where the bus is, such as "http://localhost:3001"
   * @param {{ retryDelay?: (failures: number) => number }} [options] `retryDelay` says how many milliseconds to wait
   *   after so many failures in a row
   */
  constructor(url, { retryDelay = fullJitter } = {}) {
    this.url = url.replace(/\/$/, "");
    this.#retryDelay = retryDelay;
    this.#session = this.#recall("session");
    for (const event of [this.#recall("outbox")].flat()) {
      if (!event?.id) continue; // not written here
      this.#outbox.add({ event, renewed: false, resolve() {}, reject() {} }); // whoever waited for it is gone
    }
  }

  get status() {
    return this.#status;
  }

  connect() {
    if (this.#status !== "closed" && this.#status !== "refused") return;
    addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
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
   * Call `handler` when the bus says that events for this page may be gone for good; call the result to stop.
   * @param {() => void} handler
   * @returns {() => void}
   */
  onGap(handler) {
    this.#gapHandlers.add(handler);
    return () => this.#gapHandlers.delete(handler);
  }

  /**
   * Tell this page's listeners at once, and the bus as soon as it can be reached.
   * @param {string} name
   * @param {unknown} [data]
   * @returns {Promise<Receipt>} fulfilled once the event is durable, rejected if the bus refuses it
   */
  async send(name, data = null) {
    // Copied by way of JSON: listeners here get what others will get, and the caller may go on using its object.
    const event = JSON.parse(JSON.stringify({ name, data, context: {}, id: `${this.#mark}-${++this.#sent}` }));
    this.#tell(event);
    if (this.#status === "refused") throw new Error("the bus has refused this page");
    return new Promise((resolve, reject) => {
      this.#outbox.add({ event, renewed: false, resolve, reject });
      this.#keepOutbox();
      this.#publishWaiting();
    });
  }

  // The connection. There is one socket at a time; one that is not `#socket` any more is not listened to.

  #open() {
    const socket = new WebSocket(this.url.replace(/^http/, "ws") + "/ws");
    this.#socket = socket;
    this.#socketTimer = setTimeout(() => this.#lost(), TIMEOUT);
    // Undefined fields vanish from JSON: the first time, this asks for a new token.
    socket.onopen = () => socket.send(JSON.stringify({ ...this.#session, action: "identify" }));
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

  // After "online" even a socket that looks open is made anew: it may have died unseen with the old network.
  #wake = (/** @type {Event} */ { type }) => {
    const isVisible = document.visibilityState === "visible";
    if (type === "online" || (isVisible && !this.#socket)) this.#reconnect(0);
    else if (isVisible) this.#askForASign();
  };

  // A network may vanish without a word, and pages do not see the bus's pings. So a socket must prove that it lives.

  #seemsAlive() {
    this.#isDoubted = false;
    clearTimeout(this.#socketTimer);
    this.#socketTimer = setTimeout(() => this.#askForASign(), QUIET);
  }

  #askForASign() {
    if (this.#status !== "connected") return;
    this.#socket?.send('{"action":"ping"}'); // the bus answers whatever it is told; what it does not know, by an error
    this.#mustGiveASign();
  }

  #mustGiveASign() {
    if (this.#isDoubted) return; // whoever asks again and again must not put off the end
    this.#isDoubted = true;
    clearTimeout(this.#socketTimer);
    this.#socketTimer = setTimeout(() => this.#lost(), TIMEOUT);
  }

  /** @param {"closed" | "refused"} status */
  #stop(status) {
    removeEventListener("online", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
    this.#drop();
    this.#setStatus(status);
    for (const post of this.#outbox) post.reject(new Error(`the connection to the bus is ${status}`));
    this.#outbox.clear();
    this.#keepOutbox();
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

  /** @param {{ token: string, resumed: boolean, seq: number, epoch: string, gap?: boolean, oldest?: number }} answer */
  #identified({ token, resumed, seq, epoch, gap, oldest }) {
    this.#connectedAt = Date.now();
    const goesOn = resumed && epoch === this.#session.epoch;
    const isNobody = this.#session.token !== undefined && !resumed; // what was addressed to it stays where it is
    const cursor = goesOn ? this.#session.after : seq;
    this.#remember({ token, epoch, after: gap && oldest !== undefined ? oldest - 1 : cursor });
    this.#setStatus("connected");
    if (gap || isNobody) callAll(this.#gapHandlers, undefined);
    this.#resumePublishing();
  }

  /** The bus does not take this identity, perhaps just now. If that goes on, ask for another; "" says there was one. */
  #beginAnew() {
    if (this.#socketFailures > 1) this.#remember({ token: this.#session.token && "" });
    this.#lost();
  }

  /** @param {BusEvent & { seq: number }} event */
  #hear(event) {
    if (event.seq <= (this.#session.after ?? 0)) return; // told before
    this.#remember({ ...this.#session, after: event.seq });
    const isEcho = event.source === "client" && event.id.startsWith(this.#mark);
    if (!isEcho) this.#tell(event);
  }

  /** @param {BusEvent} event */
  #tell(event) {
    callAll(this.#handlers.get(event.name) ?? [], event);
  }

  // What goes out: one POST after the other, so that events enter the log in the order they were sent. And only while
  // connected: before that there may be no token yet, and the answer would have no way back.

  async #publishWaiting() {
    if (this.#publishing || this.#pause) return;
    this.#publishing = true;
    for (const post of this.#outbox) { // also reaches what is added meanwhile
      if (this.#status !== "connected" || !(await this.#publish(post))) break;
    }
    this.#publishing = false;
  }

  #resumePublishing() {
    clearTimeout(this.#pause);
    this.#pause = 0;
    this.#publishWaiting();
  }

  /**
   * @param {Post} post
   * @returns {Promise<boolean>} whether it is done with, so that the next may follow
   */
  async #publish(post) {
    const token = this.#session.token ?? "";
    const { status, retryAfter, body } = await this.#post({ ...post.event, context: { identifier: token } });
    if (status === 401 && !post.renewed) return this.#renew(post, token);
    if (mayPass(status, body)) return this.#publishLater(retryAfter);
    this.#publishFailures = 0;
    this.#outbox.delete(post);
    this.#keepOutbox();
    // Its echo comes over the socket, unless that is dead.
    if (body.seq > (this.#session.after ?? 0) && this.#status === "connected") this.#mustGiveASign();
    if (status === 200) post.resolve(body);
    else post.reject(new Error(body.detail ?? `the bus answered ${status}`, { cause: body }));
    return true;
  }

  /**
   * The token has expired: identify anew, which tells of the gap, and try once more.
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

  /** @param {number} retryAfter seconds */
  #publishLater(retryAfter) {
    const delay = retryAfter * 1000 + this.#retryDelay(this.#publishFailures++);
    this.#pause = setTimeout(() => this.#resumePublishing(), delay);
    return false;
  }

  /** @param {BusEvent} event */
  async #post(event) {
    try {
      const headers = { "Content-Type": "application/json" };
      const signal = AbortSignal.timeout(TIMEOUT);
      const text = JSON.stringify(event);
      // The token in it is for the bus, not for wherever a redirect leads.
      const answer = await fetch(this.url, { method: "POST", headers, body: text, signal, redirect: "error" });
      const asked = Number(answer.headers.get("Retry-After")) || 0;
      const retryAfter = Math.min(Math.max(asked, 0), 60); // a timer that is set for too long goes off at once
      const body = (await answer.json().catch(() => null)) ?? {};
      return { status: answer.status, retryAfter, body };
    } catch {
      return { status: 0, retryAfter: 0, body: {} }; // no whole answer: nobody here knows if the event was added
    }
  }

  // What a reload keeps. Where storage is forbidden or full, a reload begins anew.

  /** @param {Session} session */
  #remember(session) {
    this.#session = session;
    this.#keep("session", session);
  }

  #keepOutbox() {
    this.#keep("outbox", Array.from(this.#outbox, ({ event }) => event));
  }

  /**
   * @param {"session" | "outbox"} what
   * @param {unknown} value
   */
  #keep(what, value) {
    try {
      sessionStorage.setItem(`eventbus ${what} ${this.url}`, JSON.stringify(value));
    } catch {}
  }

  /**
   * @param {"session" | "outbox"} what
   * @returns {any} an empty object if there is none
   */
  #recall(what) {
    try {
      return JSON.parse(sessionStorage.getItem(`eventbus ${what} ${this.url}`) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }
}

/**
 * Whether the same POST may succeed later. A 200 without a `seq` is not the bus's.
 * @param {number} status 0 where no answer came
 * @param {any} body
 */
const mayPass = (status, { seq }) =>
  status === 200 ? !Number.isInteger(seq) : [0, 408, 429].includes(status) || status >= 500;

/**
 * Call each handler; one that throws is reported as any uncaught error is, and stops nobody.
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
