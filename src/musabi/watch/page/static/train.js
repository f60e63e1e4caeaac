// The form of a training: keeps what is typed, asks for the plan of it, starts it or puts it into the queue.
import { act, say, send } from "./act.js";

const QUIET_MS = 600;
const LATE_MS = 3000;
const form = document.getElementById("job");
const panel = document.getElementById("plan");
const planning = document.getElementById("planning");
const there = document.getElementById("there");
const start = document.getElementById("start");
const store = `musabi train ${form.dataset.workspace}`;
const fields = [...form.querySelectorAll("[name]")];
let asked = 0;
let timer = null;
let inTheWay = [];

function typed() {
  return Object.fromEntries(fields.filter((one) => one.value.trim() && !one.disabled).map((one) => [one.name, one.value]));
}

function remember() {
  try {
    localStorage.setItem(store, JSON.stringify(typed()));
  } catch {
    // A browser that keeps nothing: the form then does not outlive a reload.
  }
}

function recall() {
  let kept;
  try {
    kept = JSON.parse(localStorage.getItem(store) || "{}");
  } catch {
    kept = {};
  }
  for (const one of fields) {
    const value = kept?.[one.name];
    if (typeof value !== "string") continue;
    if (one.tagName !== "SELECT" || [...one.options].some((option) => option.value === value)) one.value = value;
  }
}

function showModel() {
  const chosen = form.elements.model.selectedOptions[0];
  for (const fact of ["takes", "fetch"]) form.querySelector(`[data-fact="${fact}"]`).textContent = chosen?.dataset[fact] ?? "";
  form.querySelector('[data-fact="licence"]').textContent = chosen ? `Licence: ${chosen.dataset.licence}.` : "";
  const entry = form.querySelector('[data-entry="engine"]');
  const engine = form.elements.engine;
  const can = (chosen?.dataset.engines ?? "").split(" ");
  for (const option of engine.options) option.disabled = option.value !== "" && !can.includes(option.value);
  if (engine.selectedOptions[0]?.disabled) engine.value = "";
  entry.hidden = "never" in entry.dataset || can.length < 3;
}

function showPlanned(planned) {
  for (const one of fields) {
    const { value = "", why = "" } = planned[one.name] ?? {};
    if (one.tagName === "SELECT") {
      const empty = one.querySelector("[data-planned]");
      if (empty) empty.textContent = value ? `${value} (planned)` : empty.dataset.planned;
    } else one.placeholder = value || one.dataset.default || "";
    const words = document.getElementById(`w-${one.name}`);
    if (words && !words.classList.contains("bad") && words.dataset.help) {
      words.textContent = why && !one.value ? `${why[0].toUpperCase()}${why.slice(1)}.` : `${words.dataset.help}.`;
    }
  }
}

function showState() {
  for (const one of fields) if (one.querySelector?.("[data-planned]")) one.classList.toggle("planned", one.value === "");
  const set = [...document.querySelectorAll("#more [name]")].filter((one) => one.value.trim()).length;
  const badge = document.getElementById("more-set");
  badge.hidden = !set;
  badge.textContent = `${set} set`;
}

function showProblem(name, message) {
  for (const one of fields) {
    const words = document.getElementById(`w-${one.name}`);
    const wrong = one.name === name;
    if (wrong) one.setAttribute("aria-invalid", "true");
    else one.removeAttribute("aria-invalid");
    if (!words || words.classList.contains("bad") === wrong) {
      if (words && wrong) words.textContent = message;
      continue;
    }
    words.classList.toggle("bad", wrong);
    words.textContent = wrong ? message : words.dataset.help ? `${words.dataset.help}.` : "";
    if (!words.dataset.help) words.hidden = !wrong;
    if (wrong && one.closest("#more")) document.getElementById("more").open = true;
  }
}

function showThere(names) {
  inTheWay = names;
  there.hidden = !names.length;
  const more = names.length > 1 ? ` and ${names.length - 1} more` : "";
  there.textContent = names.length ? `${names[0]}${more} of an earlier run are in the output folder. Choose another name, or start anew: they are moved to output/replaced.` : "";
  start.textContent = names.length ? "Start anew" : "Start";
}

function show(answer) {
  const open = panel.querySelector("details")?.open;
  panel.innerHTML = answer.html; // a template of the server, which escaped what is in it
  const details = panel.querySelector("details");
  if (details) details.open = Boolean(open);
  showProblem(answer.field, answer.message);
  if (answer.ready) showPlanned(answer.fields);
  showThere(answer.there);
}

async function plan() {
  clearTimeout(timer);
  const mine = ++asked;
  planning.textContent = "planning";
  panel.classList.add("old");
  try {
    const answer = await send("train-plan", { values: typed() });
    if (mine !== asked) return;
    if (answer.late) {
      timer = setTimeout(plan, LATE_MS); // another tab asked meanwhile
      return;
    }
    show(answer);
  } catch (problem) {
    if (mine !== asked) return;
    const words = document.createElement("p");
    words.className = "notice bad";
    words.textContent = problem.message;
    panel.replaceChildren(words);
  }
  planning.textContent = "";
  panel.classList.remove("old");
}

function changed() {
  remember();
  showState();
  panel.classList.add("old");
  clearTimeout(timer);
  timer = setTimeout(plan, QUIET_MS);
}

async function busy(work) {
  const buttons = [start, document.getElementById("queue-add")];
  buttons.forEach((one) => (one.disabled = true));
  try {
    await work();
  } finally {
    buttons.forEach((one) => (one.disabled = false));
    plan();
  }
}

const addToQueue = () => act("queue-add", { values: typed() });

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const anew = inTheWay.length > 0;
  if (anew && !confirm(`Start anew? ${inTheWay.length} files of this name are moved to output/replaced.`)) return;
  busy(async () => {
    const answer = await act("train-start", { values: typed(), anew });
    const goesOn = document.querySelector("[data-going]");
    if (!answer && goesOn && confirm("Another run goes on. Put this one into the queue instead? It starts when its turn comes.")) await addToQueue();
  });
});
form.addEventListener("input", (event) => {
  if (event.target.name === "model") showModel();
  if (event.target.name) changed();
});
document.getElementById("queue-add").addEventListener("click", () => busy(addToQueue));
document.getElementById("clear").addEventListener("click", () => {
  if (!confirm("Empty the whole form?")) return;
  form.reset();
  showModel();
  changed();
});
document.getElementById("find-setting").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase().replaceAll(" ", "_");
  let found = 0;
  for (const group of document.querySelectorAll(".settings")) {
    const rows = [...group.querySelectorAll(".setting")];
    for (const row of rows) row.hidden = !row.dataset.setting.toLowerCase().replaceAll(" ", "_").includes(wanted);
    const left = rows.filter((row) => !row.hidden).length;
    group.hidden = !left;
    found += left;
  }
  document.getElementById("find-none").hidden = found > 0;
});
panel.addEventListener("click", async (event) => {
  if (!event.target.closest("[data-copy]")) return;
  const text = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(text.textContent);
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(text);
    say("Press Ctrl+C to copy what is marked.");
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) plan(); // the dataset may have changed meanwhile
});

recall();
showModel();
showState();
plan();
