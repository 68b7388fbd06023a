// Joins the page to the bus: a form's submit becomes a domain event, and an event becomes text on the page.
import { EventBus } from "./eventbus.js";
import { readName } from "./names.js";

/** @typedef {import("./eventbus.js").BusEvent} BusEvent */
/** @typedef {import("./eventbus.js").Receipt} Receipt */
/** @typedef {import("./names.js").Name} Name */
/**
 * @typedef {{ id: string, name: string, domain: Name, data: unknown, seq?: number, hasGap: boolean, isLate: boolean,
 *             isStuck?: boolean, isAnswered: boolean, earlier: string[] }} Question
 *   `id` is that of its event, however often the visitor presses the button. `seq` is there once it is stored.
 *   `hasGap`: the bus has lost events since it was asked. `earlier`: the ids of what was asked about the same before.
 * @typedef {Pick<BusEvent, "id" | "name" | "seq" | "source">} Line one line of the story
 */

const PATIENCE = 5_000; // ms after which the page says that nobody has answered yet
const NOBODY_ANSWERED =
  "Nobody has answered yet. The question is stored, and the answer appears here as soon as a service gives it.";
const QUESTION_WAITS = "The bus cannot be reached. The question waits here and goes out as soon as the bus is back.";
const NOT_TAKEN = "The bus has not taken the question yet. It waits here and is sent again.";
const STUCK =
  "This question does not get through to the bus, though others do. It is kept here and tried again now and then.";
const LOST = "The bus has lost events, perhaps this question or its answer. Please ask again.";
const LONGEST_STORY = 100;
const REGISTRANT = ["name", "address", "city", "state", "country"];
const OPTIONS = ["autorenew", "whoisprivacy"];
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
/** Answers to some question of this page; to which, the receipt will tell. @type {BusEvent[]} */
let early = [];
/** @type {Line[]} */
let lines = [];
let patience = 0;
/** What was kept, unless the visitor has asked something since. @type {{ question: Question | null, lines: Line[] }} */
let recalled = { question: null, lines: [] };

const bus = connect(); // a promise: the forms work from the first moment, and what they send waits for it
bus.catch((error) => show(`This page cannot find the event bus: ${error.message}`, "bad"));
recallConversation();

checkForm.addEventListener("submit", (submit) => {
  submit.preventDefault();
  const domain = readName(domainField.value);
  ask("check-domain", domain, [domain.ascii]);
});

registerForm.addEventListener("submit", (submit) => {
  submit.preventDefault();
  if (!question) return; // the form stands under a question
  answer.focus(); // the form is about to vanish, and the focus must not go with it
  ask("register-domain", question.domain, registration(question.domain.ascii, new FormData(registerForm)));
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
    bus.on(`${name}-completed`, noteAnswer);
  }
  bus.onStatus((status) => {
    connection.textContent = CONNECTION[status];
    connection.dataset.status = status;
    showProgress();
  });
  bus.onGap(noteGap);
  bus.onStuck(noteStuck);
  bus.connect();
  return bus;
}

/**
 * One question for each filling of the form: who presses again asks for the same answer.
 * @param {string} name
 * @param {Name} domain
 * @param {unknown} data
 */
function ask(name, domain, data) {
  recalled.question = null;
  const isAskedAgain = question !== null && isOpen(question) && isAbout(question, name, data);
  if (!question || !isAskedAgain) {
    const earlier = idsBefore(name, domain);
    question = { id: newId(), name, domain, data, hasGap: false, isLate: false, isAnswered: false, earlier };
    early = [];
  }
  beginWaiting();
  // Else a listener does it. While config.json is under way, there is no bus yet to tell one.
  if (isAskedAgain || !connection.dataset.status) showProgress();
  deliver(question);
}

/**
 * @param {string} name
 * @param {Name} domain
 */
function idsBefore(name, domain) {
  const isOfTheSame = question && !question.hasGap && question.name === name && question.domain.ascii === domain.ascii;
  return question && isOfTheSame ? [...question.earlier, question.id] : [];
}

/** @param {Question} asked */
async function deliver(asked) {
  try {
    const receipt = await (await bus).send(asked.name, asked.data, { id: asked.id }); // tells the listeners at once
    noteSeq(receipt.id, receipt.seq);
    if (question === asked) noteStored(asked, receipt);
  } catch (error) {
    if (question !== asked) return;
    asked.isAnswered = true;
    keepConversation();
    show(text`${asked.domain.shown}: ${/** @type {Error} */ (error).message}`, "bad");
  }
}

/** Nobody else makes the same. (randomUUID is missing on plain http beyond localhost.) */
function newId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** Whether its answer may still come. @param {Question} question */
function isOpen(question) {
  return !question.isAnswered && !isLost(question);
}

/** After a gap its `seq` means nothing any more. @param {Question} question */
function isLost({ seq, hasGap }) {
  return seq !== undefined && hasGap;
}

/**
 * @param {Question} question
 * @param {string} name
 * @param {unknown} data
 */
function isAbout(question, name, data) {
  return question.name === name && JSON.stringify(question.data) === JSON.stringify(data);
}

/**
 * @param {string} name
 * @param {FormData} form
 */
function registration(name, form) {
  const registrant = REGISTRANT.map((field) => [field, form.get(field)]);
  const options = OPTIONS.map((option) => [option, form.has(option)]);
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
  if (question?.id === id && seq !== undefined) noteStored(question, { id, seq });
  keepConversation();
  showProgress();
}

/**
 * @param {Question} asked
 * @param {Receipt} receipt
 */
function noteStored(asked, { seq, duplicate = false }) {
  asked.seq = seq;
  asked.hasGap &&= duplicate; // what was there before may have been answered before
  beginWaiting();
  keepConversation();
  showProgress();
  early.splice(0).forEach(noteAnswer);
}

/** @param {"lost" | "copied"} why */
function noteGap(why) {
  early = [];
  if (why === "copied") return forgetWhatWasRecalled();
  if (!question) return;
  question.hasGap = true;
  question.earlier = [];
  keepConversation();
  showProgress();
}

/** @param {BusEvent} event */
function noteStuck({ id }) {
  if (question?.id === id) question.isStuck = true;
  showProgress();
}

function showProgress() {
  if (!question || question.isAnswered) return;
  const { name, domain, seq, isLate, isStuck } = question;
  const isStored = seq !== undefined;
  const form = (isLate || isLost(question)) && name === "register-domain"; // so that it can be sent again
  const isOffline = connection.dataset.status === "reconnecting";
  const isConnected = connection.dataset.status === "connected";
  if (isLost(question)) show(LOST, "waiting", form);
  else if (!isStored && isOffline) show(QUESTION_WAITS, "waiting", form);
  else if (!isStored && isStuck) show(STUCK, "waiting", form);
  else if (!isStored && isLate) show(isConnected ? NOT_TAKEN : QUESTION_WAITS, "waiting", form);
  else if (isLate) show(NOBODY_ANSWERED, "waiting", form);
  else show(text`${name === "check-domain" ? "Checking" : "Registering"} ${domain.shown}…`, "busy");
}

/** @param {BusEvent} event */
function noteAnswer(event) {
  if (!question || event.name !== `${question.name}-completed`) return;
  const results = [event.data].flat();
  const ours = results.find((result) => result?.name === question?.domain.ascii);
  const result = ours ?? results[0] ?? {};
  if (isAnswer(event.context.cause, ours) || isGrantedBefore(event.context.cause, result)) showAnswer(result);
  else early = [...early, event].slice(-LONGEST_STORY);
}

/**
 * Whether this is about what the visitor asked last. An answer says by its cause which question it answers: names may
 * be written in many ways. Services that copy the context and nothing more say no cause.
 * @param {string | undefined} cause
 * @param {unknown} ours what it says about the name that was asked
 */
function isAnswer(cause, ours) {
  if (cause === undefined) return ours !== undefined;
  return question?.seq === Number(cause) && !question.hasGap;
}

/**
 * Sent twice, with a field changed in between, it is granted once and refused once; the domain is registered.
 * @param {string | undefined} cause
 * @param {any} result
 */
function isGrantedBefore(cause, { registered }) {
  if (registered !== true || !question || question.hasGap) return false;
  return question.earlier.some((id) => lines.find((line) => line.id === id)?.seq === Number(cause));
}

/** @param {any} result */
function showAnswer(result) {
  if (!question) return;
  const { name, domain, isAnswered } = question;
  // A grant counts, whatever another service, or the same one, has said before.
  if (isAnswered && result.registered !== true) return;
  question.isAnswered = true;
  keepConversation();
  if (name === "check-domain") showAvailability(domain, result);
  else showRegistration(domain, result);
}

/**
 * @param {Name} domain
 * @param {{ availability: string, error?: string }} result
 */
function showAvailability({ ascii, shown }, { availability, error }) {
  const isAvailable = availability === "available";
  registerDomain.textContent = shown;
  const reason = error ? `: ${error}` : "";
  show(text`${shown} is ${availability}${reason}`, isAvailable ? "good" : "bad", isAvailable);
  // The next step is the form, unless the visitor is already typing the next name.
  if (isAvailable && readName(domainField.value).ascii === ascii) registerTitle.focus();
}

/**
 * @param {Name} domain
 * @param {{ registered: boolean, expiration?: string, error?: string }} result
 */
function showRegistration({ shown }, { registered, expiration, error }) {
  const until = expiration ? ` until ${String(expiration).slice(0, 10)}` : ""; // a date, a date and time, or nothing
  if (registered) show(text`${shown} is registered${until}`, "good");
  else show(text`${shown} was not registered: ${error ?? "no reason was given"}`, "bad", true);
}

/**
 * The one place that changes what the page says.
 * @param {string | DocumentFragment} text
 * @param {"" | "busy" | "waiting" | "good" | "bad"} [mood]
 * @param {boolean} [withForm] whether the registration form is there
 */
function show(text, mood = "", withForm = false) {
  const news = new DocumentFragment();
  news.append(text);
  if (answer.textContent !== news.textContent) answer.replaceChildren(news); // what stays is not read out again
  answer.dataset.mood = mood;
  registerForm.hidden = !withForm;
  searchAgain.hidden = mood === "" || mood === "busy";
}

/**
 * Text in which each value keeps to itself: letters that run from right to left do not turn what stands beside them.
 * @param {TemplateStringsArray} strings
 * @param {...string} values
 */
function text(strings, ...values) {
  const fragment = new DocumentFragment();
  fragment.append(strings[0] ?? "");
  values.forEach((value, index) => fragment.append(isolated(value), strings[index + 1] ?? ""));
  return fragment;
}

/** @param {string} value */
function isolated(value) {
  const bdi = document.createElement("bdi");
  bdi.dir = "ltr"; // the parts of a name stand in their order, as in the field, whatever their script
  bdi.textContent = value;
  return bdi;
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
    const { earlier, domain } = kept.question ?? {};
    if (Array.isArray(earlier) && typeof domain?.shown === "string") question = kept.question;
    lines = kept.lines.filter((/** @type {any} */ line) => typeof line?.id === "string");
  } catch {}
  recalled = { question, lines };
  lines.forEach(addLine);
  if (!question || question.isAnswered) return;
  domainField.value = question.domain.shown;
  registerDomain.textContent = question.domain.shown;
  if (question.name === "register-domain") fillIn(question.data);
  beginWaiting();
  showProgress();
}

/** @param {any} data what was in the registration form */
function fillIn(data) {
  for (const field of REGISTRANT) formField(field).value = data?.registrant?.[field] ?? "";
  for (const option of OPTIONS) formField(option).checked = data?.options?.[option] === true;
}

/** @param {string} name */
function formField(name) {
  return /** @type {HTMLInputElement} */ (registerForm.elements.namedItem(name));
}

/** This tab was duplicated: what was asked and told before is the other one's. */
function forgetWhatWasRecalled() {
  lines = lines.filter((line) => !recalled.lines.includes(line));
  story.replaceChildren();
  lines.forEach(addLine);
  keepConversation();
  if (!recalled.question) return;
  forget();
  checkForm.reset();
  registerForm.reset();
}

// What just happened: one line for each event.

/** @param {Line} event one that has its line already comes back from the bus, after a reload */
function noteInStory({ id, name, seq, source }) {
  if (noteSeq(id, seq)) return;
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
 * @param {number} [seq]
 * @returns {boolean} whether there is a line for this event
 */
function noteSeq(id, seq) {
  const line = lines.find((line) => line.id === id);
  if (!line) return false;
  line.seq = seq ?? line.seq;
  keepConversation();
  const shown = story.querySelector(`[data-event="${CSS.escape(id)}"] .seq`);
  if (shown && line.seq) shown.textContent = `#${line.seq}`;
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
