// Joins the page to the bus: a form's submit becomes a domain event, and an event becomes text on the page.
import { EventBus } from "./eventbus.js";

/** @typedef {import("./eventbus.js").BusEvent} BusEvent */
/**
 * @typedef {{ name: string, domain: string, id?: string, isStored: boolean, isLate: boolean, isLost: boolean,
 *             isAnswered: boolean }} Question
 * @typedef {Pick<BusEvent, "id" | "name" | "seq" | "source">} Line one line of the story
 */

const PATIENCE = 5_000; // ms after which the page says that nobody has answered yet
const NOBODY_ANSWERED =
  "Nobody has answered yet. The question is stored, and the answer appears here as soon as a service gives it.";
const QUESTION_WAITS = "The bus cannot be reached. The question waits here and goes out as soon as the bus is back.";
const LOST = "The bus has lost events, perhaps this question or its answer. Please ask again.";
const LONGEST_STORY = 100;
const CONNECTION = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  refused: "Refused by the bus",
  closed: "Not connected",
};

const connection = element("connection", HTMLElement);
const checkForm = element("check", HTMLFormElement);
const domainField = element("domain", HTMLInputElement);
const answer = element("answer", HTMLElement);
const registerForm = element("register", HTMLFormElement);
const registerTitle = element("register-title", HTMLElement);
const registerDomain = element("register-domain", HTMLElement);
const searchAgain = element("again", HTMLElement);
const story = element("story", HTMLElement);

/**
 * What the visitor asked last: only its answer may change the page. Null before the first question, and after 'Search
 * again', when no answer is wanted.
 * @type {Question | null}
 */
let question = null;
/** @type {Line[]} */
let lines = [];
let patience = 0;

const bus = connect(); // a promise: the forms work from the first moment, and what they send waits for it
bus.catch((error) => show(`This page cannot find the event bus: ${error.message}`, "bad"));
recallConversation();

checkForm.addEventListener("submit", (submit) => {
  submit.preventDefault();
  const domain = domainField.value.trim().replace(/\.$/, "").toLowerCase();
  ask("check-domain", domain, [domain]);
});

registerForm.addEventListener("submit", (submit) => {
  submit.preventDefault();
  const domain = registerDomain.textContent ?? "";
  answer.focus(); // the form is about to vanish, and the focus must not go with it
  ask("register-domain", domain, registration(domain, new FormData(registerForm)));
});

// An answer must not stand under a name that it is not about.
domainField.addEventListener("input", () => {
  const mood = answer.dataset.mood;
  if (mood === "good" || mood === "bad") forget();
});

searchAgain.addEventListener("click", () => {
  forget();
  checkForm.reset();
  registerForm.reset();
  domainField.focus();
});

function forget() {
  question = null;
  keepConversation();
  show("");
}

/** Only the server of this page knows where the bus is; no file does. */
async function connect() {
  const config = await fetch("config.json");
  if (!config.ok) throw new Error(`config.json is answered by ${config.status}`);
  const bus = new EventBus((await config.json()).eventbus);
  for (const name of ["check-domain", "register-domain"]) {
    bus.on(name, noteQuestion);
    bus.on(name, noteInStory);
    bus.on(`${name}-completed`, noteInStory);
  }
  bus.on("check-domain-completed", ({ data }) => data.forEach(showAvailability));
  bus.on("register-domain-completed", ({ data }) => showRegistration(data));
  bus.onStatus((status) => {
    connection.textContent = CONNECTION[status];
    connection.dataset.status = status;
    showProgress();
  });
  bus.onGap(noteGap);
  bus.connect();
  return bus;
}

/**
 * @param {string} name
 * @param {string} domain
 * @param {unknown} data
 */
async function ask(name, domain, data) {
  /** @type {Question} */
  const asked = { name, domain, isStored: false, isLate: false, isLost: false, isAnswered: false };
  question = asked;
  beginWaiting();
  if (!connection.dataset.status) showProgress(); // config.json is under way: there is no bus yet to tell a listener
  try {
    const { id, seq } = await (await bus).send(name, data); // tells the listeners at once
    noteSeq(id, seq);
    if (question === asked) noteStored(asked);
  } catch (error) {
    if (question !== asked) return;
    asked.isAnswered = true;
    keepConversation();
    show(`${domain}: ${/** @type {Error} */ (error).message}`, "bad");
  }
}

/**
 * @param {string} name
 * @param {FormData} form
 */
function registration(name, form) {
  const registrant = ["name", "address", "city", "state", "country"].map((field) => [field, form.get(field)]);
  const options = ["autorenew", "whoisprivacy"].map((option) => [option, form.has(option)]);
  return { name, registrant: Object.fromEntries(registrant), options: Object.fromEntries(options) };
}

/** The visitor's patience begins anew when the question is stored: only then can anybody answer. */
function beginWaiting() {
  clearTimeout(patience);
  patience = setTimeout(() => {
    if (question) question.isLate = true;
    showProgress();
  }, PATIENCE);
  if (question) question.isLate = false;
}

/**
 * The first time, this is what the visitor has just asked. It comes back from the bus only after a reload: then this
 * page did not hear that it was stored.
 * @param {BusEvent} event
 */
function noteQuestion({ id, seq }) {
  if (question && seq === undefined) question.id = id;
  else if (question?.id === id && !question.isStored) noteStored(question);
  keepConversation();
  showProgress();
}

/** @param {Question} question */
function noteStored(question) {
  question.isStored = true;
  beginWaiting();
  keepConversation();
  showProgress();
}

function noteGap() {
  if (question?.isStored) question.isLost = true;
  showProgress();
}

function showProgress() {
  if (!question || question.isAnswered) return;
  const { name, domain, isStored, isLate, isLost } = question;
  const form = (isLate || isLost) && name === "register-domain"; // so that it can be sent again
  const isOffline = connection.dataset.status === "reconnecting";
  if (isLost) show(LOST, "waiting", form);
  else if (!isStored && (isLate || isOffline)) show(QUESTION_WAITS, "waiting", form);
  else if (isLate) show(NOBODY_ANSWERED, "waiting", form);
  else show(`${name === "check-domain" ? "Checking" : "Registering"} ${domain}…`, "busy");
}

/** @param {{ name: string, availability: string, error?: string }} result */
function showAvailability({ name, availability, error }) {
  if (!isAnswer("check-domain", name)) return;
  const isAvailable = availability === "available";
  registerDomain.textContent = name;
  const reason = error ? `: ${error}` : "";
  show(`${name} is ${availability}${reason}`, isAvailable ? "good" : "bad", isAvailable);
  // The next step is the form, unless the visitor is already typing the next name.
  if (isAvailable && domainField.value.toLowerCase().includes(name)) registerTitle.focus();
}

/** @param {{ name: string, registered: boolean, expiration?: string, error?: string }} result */
function showRegistration({ name, registered, expiration, error }) {
  // Sent twice, it is granted once and refused once; whichever comes first, the domain is registered.
  const isGranted = registered && question?.name === "register-domain" && question.domain === name;
  if (!isAnswer("register-domain", name) && !isGranted) return;
  const until = expiration ? ` until ${expiration.slice(0, 10)}` : ""; // a date, a date and time, or nothing
  if (registered) show(`${name} is registered${until}`, "good");
  else show(`${name} was not registered: ${error ?? "no reason was given"}`, "bad", true);
}

/**
 * Whether this answers what the visitor asked last, for the first time; if so, the waiting is over.
 * @param {string} name
 * @param {string} domain
 */
function isAnswer(name, domain) {
  if (question?.name !== name || question.domain !== domain || question.isAnswered) return false;
  question.isAnswered = true;
  keepConversation();
  return true;
}

/**
 * The one place that changes what the page says.
 * @param {string} text
 * @param {"" | "busy" | "waiting" | "good" | "bad"} [mood]
 * @param {boolean} [withForm] whether the registration form is there
 */
function show(text, mood = "", withForm = false) {
  if (answer.textContent !== text) answer.textContent = text; // what has not changed is not read out again
  answer.dataset.mood = mood;
  registerForm.hidden = !withForm;
  searchAgain.hidden = mood === "" || mood === "busy";
}

// What a reload keeps: the question that still waits for its answer, and the story.

function keepConversation() {
  try {
    sessionStorage.setItem("conversation", JSON.stringify({ question, lines }));
  } catch {} // then a reload begins anew
}

function recallConversation() {
  try {
    const kept = JSON.parse(sessionStorage.getItem("conversation") ?? '{"lines": []}');
    // What this page cannot have written is forgotten.
    if (typeof kept.question?.domain === "string") question = kept.question;
    lines = kept.lines.filter((/** @type {any} */ line) => typeof line?.id === "string");
  } catch {}
  lines.forEach(addLine);
  if (!question || question.isAnswered) return;
  domainField.value = question.domain;
  registerDomain.textContent = question.domain;
  beginWaiting();
  showProgress();
}

// What just happened: one line for each event.

/** @param {Line} event one that has its line already comes back from the bus, after a reload */
function noteInStory({ id, name, seq, source }) {
  if (seq !== undefined && noteSeq(id, seq)) return;
  lines = [...lines, { id, name, seq, source }].slice(-LONGEST_STORY);
  keepConversation();
  addLine({ id, name, seq, source });
}

/** @param {Line} line */
function addLine({ id, name, seq, source }) {
  const line = document.createElement("li");
  line.dataset.event = id;
  line.append(cell("seq", seq ? `#${seq}` : "…"), cell("name", name), cell("who", `from ${source ?? "this page"}`));
  story.append(line);
  story.scrollTop = story.scrollHeight;
}

/**
 * @param {string} id
 * @param {number} seq
 * @returns {boolean} whether there is a line for this event
 */
function noteSeq(id, seq) {
  const line = lines.find((line) => line.id === id);
  if (!line) return false;
  line.seq = seq;
  keepConversation();
  const shown = story.querySelector(`[data-event="${CSS.escape(id)}"] .seq`);
  if (shown) shown.textContent = `#${seq}`;
  return true;
}

/**
 * @param {string} kind
 * @param {string} text
 */
function cell(kind, text) {
  const span = document.createElement("span");
  span.className = kind;
  span.textContent = text;
  return span;
}

/**
 * The element with this id, which index.html must have.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function element(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`index.html has no ${type.name} with the id ${id}`);
}
