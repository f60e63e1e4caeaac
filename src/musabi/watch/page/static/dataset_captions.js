// Captions: saved over what the person had seen and nothing else, changed together, and taken back.
import { say, send } from "./act.js";
import { dress, isDirty, mark, nameOf, records } from "./dataset_tiles.js";

const heard = document.getElementById("heard");
const undo = document.getElementById("undo");
export let undoable = null;
let changing = false;

/** Saves a caption; where the file is another by now, the person chooses. */
export function save(record, same = false) {
  if (record.clash || record.field.readOnly) return;
  if (record.saving) {
    record.again = true;
    return;
  }
  record.saving = put(record, same).finally(() => {
    record.saving = null;
    if (record.again && isDirty(record)) save(record);
    record.again = false;
  });
}

async function put(record, same) {
  const text = record.field.value;
  if (!same && !isDirty(record)) return;
  mark(record, "Saving");
  try {
    const answer = await send("caption", { file: record.file, text, hash: record.data.hash });
    record.data = { ...record.data, text: answer.text, hash: answer.hash, encoding: "" };
    if (record.field.value === text && text !== answer.text) record.field.value = answer.text;
    dress(record);
    mark(record, "Saved", "good");
    heard.textContent = `Caption of ${nameOf(record.file)} saved`;
    setUndo(answer.undo);
    document.dispatchEvent(new Event("captionsaved"));
  } catch (problem) {
    if (problem.status === 409 && problem.value?.now) return choose(record, problem.value.now);
    mark(record, "Not saved", "bad", problem.message);
    heard.textContent = `Caption of ${nameOf(record.file)} not saved. ${problem.message}`;
  }
}

function choose(record, now) {
  const box = document.createElement("div");
  box.className = "clash";
  box.setAttribute("role", "alert");
  const line = document.createElement("p");
  line.textContent = now.hash ? "Changed elsewhere meanwhile. It says now:" : "Its file was removed elsewhere meanwhile.";
  const text = document.createElement("blockquote");
  text.textContent = now.text || "(nothing)";
  box.append(line, text, answer("Keep mine", true), answer("Take the newer one", false));
  mark(record, "Not saved", "bad");
  record.clash = box;
  record.tile.querySelector(".words").append(box);

  function answer(words, mine) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words;
    button.addEventListener("click", () => {
      const inside = box.contains(document.activeElement);
      box.remove();
      record.clash = null;
      record.data = { ...record.data, ...now };
      mark(record, "");
      if (!mine) record.field.value = now.text;
      dress(record);
      if (inside) record.field.focus();
      if (mine) save(record);
    });
    return button;
  }
}

/** Waits until every caption that was typed is saved. Throws where one could not be. */
export async function settled() {
  for (const record of records.values()) if (isDirty(record)) save(record);
  await Promise.all([...records.values()].map((record) => record.saving));
  const open = [...records.values()].find(isDirty);
  if (open) throw new Error(`The caption of ${nameOf(open.file)} is not saved yet. See to it first.`);
}

/** Takes in which step Undo takes back. */
export function setUndo(step) {
  undoable = step;
  undo.disabled = !step || changing;
  undo.title = step ? `Take back: ${step.title}` : "Nothing to take back";
}

/** Makes one change to many captions, after those that were typed are saved, and says what came of it. */
export async function changeMany(path, body) {
  changing = true;
  setUndo(undoable);
  try {
    await settled();
    const answer = await send(path, body());
    undoable = answer.undo;
    say(answer.message, answer.left.length ? "bad" : "good");
  } catch (problem) {
    say(problem.message, "bad");
  }
  changing = false;
  setUndo(undoable);
}

addEventListener("beforeunload", (event) => {
  if ([...records.values()].some((record) => isDirty(record) || record.saving)) event.preventDefault();
});
