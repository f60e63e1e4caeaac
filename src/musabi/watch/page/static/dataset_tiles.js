// A tile of the grid: a picture, its name, its caption, and what was found in it.
export const records = new Map(); // by file: { file, data: { text, hash, v, ... }, tile, field, findings, saving, clash }
export const picked = new Set();

export const nameOf = (file) => file.slice(file.lastIndexOf("/") + 1);
export const isDirty = (record) => record.field !== undefined && record.field.value.trim() !== record.data.text.trim();
const address = (route, file, v) => `${route}?${new URLSearchParams(v ? { file, v } : { file })}`;
const pattern = document.getElementById("tile").content.firstElementChild;

/** Returns the tile of a record, made when it is first shown. */
export function tileOf(record) {
  if (record.tile) return record.tile;
  const tile = pattern.cloneNode(true);
  const name = nameOf(record.file);
  record.tile = tile;
  record.field = tile.querySelector("textarea");
  tile.record = record;
  const link = tile.querySelector(".name");
  link.textContent = link.title = name;
  link.href = address("picture", record.file);
  link.setAttribute("aria-label", `Open ${name}`);
  tile.querySelector("input").setAttribute("aria-label", `Select ${name}`);
  pick(record, picked.has(record.file));
  record.field.setAttribute("aria-label", `Caption of ${name}`);
  record.field.value = record.data.text;
  picture(record, record.data);
  dress(record);
  list(record);
  return tile;
}

export function picture(record, data) {
  const image = record.tile.querySelector("img");
  image.parentElement.classList.remove("broken");
  image.src = address("thumbnail", record.file, data.v);
}

export function dress(record) {
  if (!record.tile) return;
  const { data, tile, field } = record;
  tile.classList.toggle("video", Boolean(data.video));
  tile.classList.toggle("bare", !data.text);
  field.readOnly = Boolean(data.fixed || data.problem);
  field.placeholder = field.readOnly ? "" : "No caption";
  if (data.problem) mark(record, "", "", data.problem);
  else if (data.encoding) odd(record);
}

function odd(record) {
  mark(record, "", "", `Saved as ${record.data.encoding}, not UTF-8. `);
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Save as UTF-8";
  button.dataset.utf8 = "";
  record.tile.querySelector(".told").append(button);
}

export function list(record) {
  const items = (record.findings || []).map(({ level, words }) => {
    const item = document.createElement("li");
    item.className = level;
    item.textContent = words;
    return item;
  });
  record.tile.querySelector(".found").replaceChildren(...items);
}

/** Says how a caption stands: `text` in a word beside the name, `more` in a sentence below the field. */
export function mark(record, text, kind = "", more = "") {
  const word = record.tile.querySelector(".mark");
  word.textContent = text;
  word.className = `mark ${kind}`;
  record.tile.querySelector(".told").textContent = more;
}

/** Selects a picture, or not. */
export function pick(record, yes) {
  if (yes) picked.add(record.file);
  else picked.delete(record.file);
  if (!record.tile) return;
  record.tile.classList.toggle("picked", yes);
  record.tile.querySelector("input").checked = yes;
}
