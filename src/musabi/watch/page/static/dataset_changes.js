// One change to all captions: looked at first, then carried out, and taken back as one.
import { say, send } from "./act.js";
import { refresh } from "./dataset.js";
import { changeMany, settled } from "./dataset_captions.js";

const $ = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

$("open-bulk").addEventListener("click", () => {
  const open = $("bulk").hidden;
  $("bulk").hidden = !open;
  $("open-bulk").setAttribute("aria-expanded", String(open));
  if (open) $("replace").elements.find.focus();
});

for (const form of [$("replace"), $("trigger")]) {
  form.addEventListener("input", close); // what is shown is no more what is asked for
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(form, event.submitter));
    try {
      await settled();
      preview(await send("captions-plan", { ...fields, case: fields.case === "on" }));
    } catch (problem) {
      close();
      say(problem.message, "bad");
    }
  });
}

function close() {
  $("preview").hidden = true;
  $("preview").replaceChildren();
}

function preview(plan) {
  const box = $("preview");
  box.replaceChildren(line(wordsOf(plan)));
  box.hidden = false;
  if (plan.changes) {
    const list = document.createElement("ol");
    list.append(...plan.samples.map(sample));
    const rest = plan.changes - plan.samples.length;
    const buttons = document.createElement("div");
    buttons.className = "row";
    const caption = plan.changes === 1 ? "caption" : "captions";
    buttons.append(button(`Change ${number(plan.changes)} ${caption}`, () => carryOut(plan), "main"), button("Cancel", close));
    box.append(list, ...(rest > 0 ? [line(`and ${number(rest)} more`, "soft")] : []), buttons);
  }
  box.focus();
}

function wordsOf(plan) {
  const title = plan.title[0].toUpperCase() + plan.title.slice(1);
  const bare = plan.without ? ` ${number(plan.without)} without a caption file stay as they are.` : "";
  if (!plan.changes) return `${title}: no caption would change.${bare}`;
  return `${title}: ${number(plan.changes)} of ${number(plan.of)} captions would change.${bare}`;
}

async function carryOut(plan) {
  for (const one of $("preview").querySelectorAll("button")) one.disabled = true;
  await changeMany("captions-change", () => ({ id: plan.id }));
  close();
  await refresh();
  $("undo").focus();
}

function sample({ file, before, after }) {
  const item = document.createElement("li");
  const name = line(file.slice(file.lastIndexOf("/") + 1), "soft");
  item.append(name, ...marked(before, after));
  return item;
}

const AROUND = 90; // letters before and behind what differs: captions can be pages long

/** Returns both texts near what differs between them, which is marked. */
function marked(before, after) {
  let start = 0;
  while (start < before.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return [
    ["del", before],
    ["ins", after],
  ].map(([kind, text]) => {
    const whole = document.createElement(kind);
    const mark = document.createElement("mark");
    mark.textContent = text.slice(start, text.length - end);
    const before = text.slice(0, start), behind = text.slice(text.length - end);
    whole.append(before.length > AROUND ? `\u2026${before.slice(-AROUND)}` : before, mark);
    whole.append(behind.length > AROUND ? `${behind.slice(0, AROUND)}\u2026` : behind);
    return whole;
  });
}

function line(text, kind = "") {
  const paragraph = document.createElement("p");
  paragraph.className = kind;
  paragraph.textContent = text;
  return paragraph;
}

function button(text, press, kind = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = text;
  made.addEventListener("click", press);
  return made;
}
