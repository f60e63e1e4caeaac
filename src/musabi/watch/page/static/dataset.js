// The grid of images: what the server has, which of it is shown, what is selected.
import { say, send } from "./act.js";
import { changeMany, save, settled, setUndo, undoable } from "./dataset_captions.js";
import { dress, isDirty, list, mark, nameOf, pick, picked, picture, records, tileOf } from "./dataset_tiles.js";
import { onPart } from "./live.js";

const BATCH = 60;
const $ = (id) => document.getElementById(id);
const groups = $("groups");
let order = [];
let version = "";
let waiting = []; // what is to be shown and has no tile on the page yet: [group, record]
let shown = [];
let late = false;

async function read(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()).trim());
  return answer.json();
}

// ---- what the server has

let reading = null;

/** Brings in what changed on the disk since the last look. */
export function refresh() {
  reading ??= bring().catch((problem) => say(problem.message, "bad")).finally(() => (reading = null));
  return reading;
}

async function bring() {
  const news = await read(`captions?since=${encodeURIComponent(version)}`);
  version = news.version;
  setUndo(news.undo);
  for (const [file, data] of Object.entries(news.captions)) {
    const record = records.get(file);
    if (record) update(record, data);
    else records.set(file, { file, data });
  }
  if (news.groups) takeList(news.groups);
  count();
}

function takeList(list) {
  order = list;
  const there = new Set(list.flatMap((group) => group.files));
  for (const file of [...records.keys()]) {
    if (there.has(file)) continue;
    records.delete(file);
    picked.delete(file);
  }
  countPicked();
  // Not under somebody's hands.
  if (groups.contains(document.activeElement)) late = true;
  else show(true);
}

function update(record, data) {
  const old = record.data;
  if (record.tile && old.v !== data.v) picture(record, data);
  if (record.field && (isDirty(record) || record.saving || record.clash)) {
    record.data = { ...old, v: data.v }; // what its change began from stays known: saving it will ask
  } else if (record.field && document.activeElement === record.field && old.text !== data.text) {
    record.later = data;
  } else {
    record.data = data;
    if (record.field && record.field.value !== data.text) record.field.value = data.text;
    dress(record);
  }
}

async function readFindings() {
  try {
    const { files } = await read("findings");
    for (const record of records.values()) {
      record.findings = files[record.file];
      if (record.tile) list(record);
    }
  } catch {
    return; // the check itself says what is wrong
  }
  count();
}

groups.addEventListener("error", (event) => event.target.closest?.(".picture")?.classList.add("broken"), true);
groups.addEventListener("click", (event) => {
  const place = event.target.closest(".picture:not(.broken)");
  if (place) place.closest(".tile").querySelector(".name").click();
});

// ---- which ones are shown

const FILTERS = {
  all: () => true,
  bare: (record) => !record.data.text,
  found: (record) => Boolean(record.findings?.length),
};

function show(keep = false) {
  const most = keep ? Math.max(BATCH, shown.length) : BATCH;
  const filter = FILTERS[document.querySelector("[name=filter]:checked").value];
  const words = $("search").value.trim().toLowerCase();
  const fits = (record) =>
    record && filter(record) && (!words || `${nameOf(record.file)}\n${record.data.text}`.toLowerCase().includes(words));
  const top = scrollY;
  groups.replaceChildren();
  shown = [];
  waiting = order.flatMap((group) => group.files.map((file) => records.get(file)).filter(fits).map((record) => [group, record]));
  for (const group of order) if (group.remark && !group.files.length) heading(group);
  const all = waiting.length;
  more(most);
  if (keep) scrollTo(0, top);
  watchEnd();
  late = false;
  $("shown").textContent = all === records.size ? "" : `${all.toLocaleString("en")} of ${records.size.toLocaleString("en")} shown`;
  $("shown").hidden = all === records.size;
  $("pick-all").disabled = !all;
  $("gallery").hidden = !records.size && !order.some((group) => group.remark); // nothing to filter, search or change
}

function more(number) {
  const pieces = new Map();
  for (const [group, record] of waiting.splice(0, number)) {
    const place = placeOf(group);
    if (!pieces.has(place)) pieces.set(place, document.createDocumentFragment());
    pieces.get(place).append(tileOf(record));
    shown.push(record);
  }
  for (const [place, piece] of pieces) place.append(piece);
}

function placeOf(group) {
  const last = groups.lastElementChild;
  return last?.group === group && last.className === "tiles" ? last : heading(group);
}

function heading(group) {
  if (order.length > 1 || group.remark) {
    const title = document.createElement("h2");
    title.textContent = group.title;
    groups.append(title);
  }
  if (group.remark) {
    const remark = document.createElement("p");
    remark.className = "notice";
    remark.textContent = group.remark;
    groups.append(remark);
  }
  const place = document.createElement("div");
  place.className = "tiles";
  place.group = group;
  groups.append(place);
  return place;
}

const nearEnd = new IntersectionObserver(
  (seen) => {
    if (!seen.some((one) => one.isIntersecting) || !waiting.length) return;
    more(BATCH);
    watchEnd();
  },
  { rootMargin: "1500px" },
);

function watchEnd() {
  nearEnd.unobserve($("end")); // told again where the end is: it may be in sight still
  nearEnd.observe($("end"));
}

function count() {
  for (const [name, filter] of Object.entries(FILTERS)) {
    let number = 0;
    for (const record of records.values()) number += filter(record);
    document.querySelector(`[data-count=${name}]`).textContent = number.toLocaleString("en");
  }
}

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(show, 150);
});
document.querySelector(".filters").addEventListener("change", () => show());

// ---- captions

groups.addEventListener("focusout", (event) => {
  const record = event.target.closest("textarea")?.closest(".tile").record;
  if (record) leave(record);
  if (late) setTimeout(() => late && !groups.contains(document.activeElement) && show(true));
});

function leave(record) {
  const later = record.later;
  delete record.later;
  if (isDirty(record)) save(record);
  else if (later) update(record, later);
}

groups.addEventListener("click", (event) => {
  if ("utf8" in event.target.dataset) save(event.target.closest(".tile").record, true);
});
groups.addEventListener("input", (event) => {
  const record = event.target.closest("textarea")?.closest(".tile").record;
  if (record?.tile.querySelector(".mark.good")) mark(record, "");
});
document.addEventListener("captionsaved", count);

groups.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("textarea")) return;
  event.preventDefault();
  const at = shown.indexOf(event.target.closest(".tile").record);
  if (at + 1 >= shown.length) more(BATCH);
  if (shown[at + 1]) shown[at + 1].field.focus();
  else event.target.blur();
});

// ---- undo

$("undo").addEventListener("click", async () => {
  await changeMany("captions-undo", () => ({ id: undoable.id }));
  await refresh();
});

// ---- selecting

function countPicked() {
  $("picked").hidden = !picked.size;
  $("picked-count").textContent = `${picked.size.toLocaleString("en")} selected`;
}

groups.addEventListener("change", (event) => {
  if (!event.target.matches(".head input")) return;
  pick(event.target.closest(".tile").record, event.target.checked);
  countPicked();
});
$("pick-all").addEventListener("click", () => {
  for (const record of [...shown, ...waiting.map(([, one]) => one)]) pick(record, true);
  countPicked();
});
$("unpick").addEventListener("click", () => {
  for (const file of [...picked]) pick(records.get(file), false);
  countPicked();
  $("pick-all").focus();
});
$("delete").addEventListener("click", async () => {
  const files = [...picked];
  const what = files.length === 1 ? nameOf(files[0]) : `${files.length.toLocaleString("en")} images`;
  if (!confirm(`Move ${what} to the bin, with captions? They can be brought back from there.`)) return;
  $("delete").disabled = true;
  try {
    await settled();
    say((await send("bin", { files })).message);
  } catch (problem) {
    say(problem.message, "bad");
  }
  $("delete").disabled = false;
  await refresh();
});

// ---- begin

onPart("images", (part) => {
  const there = part.querySelector("[data-version]")?.dataset.version;
  if (there && there !== version) refresh();
});
onPart("check", readFindings);
await refresh();
readFindings();
