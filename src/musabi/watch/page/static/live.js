// Keeps the parts of a page as they are now. The server escaped what is in them.
const fresh = document.getElementById("fresh");
const plainTitle = document.title;
const HIDDEN_LOOK_MS = 60_000;
const HIDDEN_LOOK_TAKES_MS = 5000;
const listeners = new Map();

/** Calls `listener(part, element)` after the part of that name was replaced. */
export function onPart(name, listener) {
  listeners.set(name, [...(listeners.get(name) || []), listener]);
}

function replace(element, html) {
  // What a person has open stays open, and the focus stays where it was.
  const open = new Set([...element.querySelectorAll("details[open][data-keep]")].map((one) => one.dataset.keep));
  const focused = document.activeElement?.closest("[data-focus]")?.dataset.focus;
  const inside = element.contains(document.activeElement);
  element.innerHTML = html;
  for (const one of element.querySelectorAll("details[data-keep]")) one.open = open.has(one.dataset.keep) || one.open;
  if (inside && focused) element.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
}

function take(message) {
  const { part, html, hash } = JSON.parse(message.data);
  fresh.textContent = "";
  fresh.className = "soft";
  const element = document.querySelector(`[data-part="${CSS.escape(part)}"]`);
  if (!element || element.dataset.hash === hash) return;
  element.dataset.hash = hash;
  if (element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) {
    // Not under somebody's hands: it is put in when they leave the field.
    document.activeElement.addEventListener("blur", () => put(part, element, html), { once: true });
    return;
  }
  put(part, element, html);
}

function put(part, element, html) {
  replace(element, html);
  showTitle();
  for (const listener of listeners.get(part) || []) listener(element);
}

/** Puts how far a run is into the tab's title, where a part says so. */
function showTitle() {
  const said = document.querySelector("[data-title]")?.dataset.title;
  document.title = said ? `${said} - musabi` : plainTitle;
}

let source = null;

function warn(text) {
  fresh.textContent = text;
  fresh.className = "notice warn";
}

/** Says why the server refuses: it was started again, and this browser's key is the one of before. */
async function whyRefused() {
  try {
    const answer = await fetch("health");
    if (answer.status === 401) warn(`The run page was started again. ${(await answer.text()).trim()}`);
  } catch {
    return; // it does not answer at all, which is said already
  }
}

function connect() {
  const query = new URLSearchParams(location.search);
  query.set("page", document.body.dataset.page);
  const mine = new EventSource(`live?${query}`);
  source = mine;
  source.onmessage = take;
  source.onerror = () => {
    warn("The pod does not answer. This is how it stood before.");
    if (mine.readyState !== EventSource.CLOSED || source !== mine) return;
    whyRefused();
    setTimeout(() => source === mine && connect(), 3000);
  };
  source.onopen = () => {
    fresh.textContent = "";
    fresh.className = "soft";
  };
}

document.addEventListener("visibilitychange", () => {
  // A hidden tab costs nothing.
  if (document.hidden) disconnect();
  else if (!source) connect();
});

function disconnect() {
  source?.close();
  source = null;
}

// But for a look a minute while its title says how far a run is.
setInterval(() => {
  if (!document.hidden || source || !/\d %/.test(document.title)) return;
  connect();
  setTimeout(() => document.hidden && disconnect(), HIDDEN_LOOK_TAKES_MS);
}, HIDDEN_LOOK_MS);

showTitle();
if (document.querySelector("[data-part]")) connect();
