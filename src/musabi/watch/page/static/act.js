// Sends what a person asks for, and says what came of it.
import { onPart } from "./live.js";

const key = document.querySelector('meta[name="musabi-key"]').content;
const said = document.getElementById("said");

/** Shows a sentence; an error stays until it is sent away. */
export function say(text, kind = "good") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = text;
  for (const old of [...said.children]) if (old.dataset.text === text) old.remove(); // said again: once is enough
  line.dataset.text = text;
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => line.remove());
  line.append(" ", close);
  said.append(line);
  if (kind === "good") setTimeout(() => line.remove(), 6000);
}

/** Sends a change; returns the answer's JSON. Throws an Error with the server's words. */
export async function send(path, body, method = "POST") {
  const json = body !== undefined && !(body instanceof Blob);
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: { "x-musabi-key": key, ...(json ? { "content-type": "application/json" } : {}) },
      body: json ? JSON.stringify(body) : body,
    });
  } catch {
    throw new Error("The pod does not answer. Nothing was changed.");
  }
  const text = await answer.text();
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    value = { message: text.trim() };
  }
  if (!answer.ok) throw Object.assign(new Error(value.message || `It was answered ${answer.status}.`), { value, status: answer.status });
  return value;
}

// Verbs that were begun here and take long: how they end is said where the person looks, too, not only at the foot.
const begun = new Set();
onPart("doing", (part) => {
  for (const task of part.querySelectorAll("[data-task]")) {
    if (task.dataset.state === "working" || !begun.delete(task.dataset.task)) continue;
    say(`${task.querySelector("strong").textContent}: ${task.querySelector(".said").textContent}`, task.dataset.state);
  }
});

/** Carries a verb out; says how it went. Returns the answer, or null where it failed. */
export async function act(verb, values = {}) {
  try {
    const answer = await send("do", { ...values, verb });
    if (!answer.over) begun.add(answer.id);
    say(answer.over ? answer.message : "It is under way. What it says stands at the foot of this page.");
    return answer;
  } catch (problem) {
    say(problem.message, "bad");
    return null;
  }
}

function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.type === "radio") {
      if (field.checked) values[field.name] = field.value;
    } else values[field.name] = field.value;
  }
  return values;
}

// <form data-verb="NAME">: its fields are the verb's values. data-sure: a question that is asked first.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-verb]");
  if (!form) return;
  event.preventDefault();
  if (form.dataset.sure && !confirm(form.dataset.sure)) return;
  const buttons = [...form.querySelectorAll("button")];
  const values = { ...valuesOf(form), ...(event.submitter?.name ? { [event.submitter.name]: event.submitter.value } : {}) };
  buttons.forEach((button) => (button.disabled = true));
  const answer = await act(form.dataset.verb, values);
  buttons.forEach((button) => (button.disabled = false));
  // Not from the form, which a live part that was made anew meanwhile has taken away.
  document.dispatchEvent(new CustomEvent("acted", { detail: { verb: form.dataset.verb, answer } }));
});
