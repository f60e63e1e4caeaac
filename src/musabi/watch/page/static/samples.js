// A run's samples: one checkpoint large, with a slider through all of them, and a look at a whole picture.
import { onPart } from "./live.js";

const LARGE = 768;
const one = document.getElementById("one");
const slider = document.getElementById("at");
const label = document.getElementById("at-name");
const large = document.getElementById("large");
const part = document.querySelector('[data-part="samples"]');
const dialog = document.getElementById("look");
let grid = { run: "", moments: [], rows: [] };
let looked = null; // [row, moment] in the dialog, or null for a sheet

function read() {
  const box = part?.querySelector(".samples-grid");
  if (!box) return { run: "", moments: [], rows: [] };
  const moments = [...box.querySelectorAll("thead th")].slice(1).map((cell) => cell.textContent);
  const rows = [...box.querySelectorAll("tbody tr")].map((row) => ({
    prompt: Number(row.dataset.prompt),
    text: row.dataset.text,
    cells: new Map([...row.querySelectorAll("button.cell")].map((cell) => [Number(cell.dataset.at), {
      name: cell.dataset.name, version: cell.dataset.v, plays: "plays" in cell.dataset,
    }])),
  }));
  return { run: box.dataset.run, moments, rows };
}

function address(cell, px) {
  const query = new URLSearchParams({ id: grid.run, name: cell.name, v: cell.version });
  if (px) query.set("px", px);
  return `sample?${query}`;
}

/** An image, or a video that plays. */
function picture(cell, px, alt) {
  const element = document.createElement(cell.plays ? "video" : "img");
  if (cell.plays) Object.assign(element, { muted: true, loop: true, autoplay: true, playsInline: true, controls: !px });
  else Object.assign(element, { alt, decoding: "async" });
  element.setAttribute("aria-label", alt);
  element.src = address(cell, cell.plays ? 0 : px);
  return element;
}

function showMoment() {
  const at = Number(slider.value);
  const said = grid.moments[at] || "";
  label.textContent = said;
  slider.setAttribute("aria-valuetext", said);
  document.getElementById("earlier").disabled = at <= 0;
  document.getElementById("later").disabled = at >= grid.moments.length - 1;
  grid.rows.forEach((row, index) => {
    let item = large.children[index];
    if (!item) {
      item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => open(index, Number(slider.value)));
      const text = document.createElement("p");
      item.append(button, text);
      large.append(item);
    }
    const [button, text] = item.children;
    text.textContent = row.text || `Prompt ${row.prompt + 1}`;
    const cell = row.cells.get(at);
    const key = cell ? `${cell.name} ${cell.version}` : "";
    if (item.dataset.key === key && button.firstChild) return;
    item.dataset.key = key;
    button.disabled = !cell;
    button.setAttribute("aria-label", `Prompt ${row.prompt + 1}, ${said}: look at it whole`);
    if (!cell) {
      button.textContent = "none";
      return;
    }
    const next = picture(cell, LARGE, "");
    // The one before stays until the new one is there, so that nothing flickers.
    if (cell.plays || !button.firstElementChild) button.replaceChildren(next);
    else next.decode().catch(() => {}).then(() => { if (item.dataset.key === key) button.replaceChildren(next); });
  });
  while (large.children.length > grid.rows.length) large.lastChild.remove();
}

function renew() {
  const before = grid.moments;
  const wasLast = Number(slider.value) >= before.length - 1;
  const was = before[Number(slider.value)];
  grid = read();
  const has = grid.moments.length > 0;
  one.hidden = !has;
  document.getElementById("to-compare").hidden = grid.moments.length < 2;
  slider.max = Math.max(0, grid.moments.length - 1);
  slider.value = wasLast || !before.length ? slider.max : Math.max(0, grid.moments.indexOf(was));
  if (has) showMoment();
}

function step(by) {
  slider.value = Number(slider.value) + by;
  showMoment();
}

// A whole picture.
function open(row, at) {
  const cell = grid.rows[row]?.cells.get(at);
  if (!cell) return;
  looked = [row, at];
  const said = `Prompt ${grid.rows[row].prompt + 1}, ${grid.moments[at]}`;
  look(picture(cell, 0, said), grid.rows[row].text ? `${said}: ${grid.rows[row].text}` : said, address(cell, 0));
  const others = [...grid.rows[row].cells.keys()].filter((other) => other !== at);
  const other = others.filter((one) => one < at).pop() ?? others[0];
  const compare = document.getElementById("look-compare");
  compare.hidden = other === undefined;
  if (other !== undefined) {
    const [a, b] = [Math.min(at, other), Math.max(at, other)].map((one) => grid.rows[row].cells.get(one).name);
    compare.textContent = `Compare with ${grid.moments[other]}`;
    compare.href = `compare?${new URLSearchParams({ run: grid.run, a, b })}`;
  }
  document.getElementById("look-back").hidden = document.getElementById("look-on").hidden = false;
  document.getElementById("look-back").disabled = next(row, at, 0, -1) === null;
  document.getElementById("look-on").disabled = next(row, at, 0, 1) === null;
}

function look(element, title, file) {
  document.getElementById("look-here").replaceChildren(element);
  document.getElementById("look-title").textContent = title;
  document.getElementById("look-file").href = file;
  if (!dialog.open) dialog.showModal();
}

/** The nearest sample in a direction, as [row, moment], or null. */
function next(row, at, down, on) {
  for (let r = row + down, m = at + on; r >= 0 && r < grid.rows.length && m >= 0 && m < grid.moments.length; r += down, m += on) {
    if (grid.rows[r].cells.has(m)) return [r, m];
  }
  return null;
}

function move(down, on) {
  const found = looked && next(looked[0], looked[1], down, on);
  if (found) open(...found);
}

if (part) {
  let left = 0;
  part.addEventListener("scroll", (event) => { left = event.target.scrollLeft; }, true);
  part.addEventListener("click", (event) => {
    const cell = event.target.closest("button.cell");
    if (!cell) return;
    const rows = [...part.querySelectorAll("tbody tr")];
    open(rows.indexOf(cell.closest("tr")), Number(cell.dataset.at));
  });
  // A picture that is still being written is tried again.
  document.addEventListener("error", (event) => {
    const image = event.target;
    if (image.tagName !== "IMG" || Number(image.dataset.tries || 0) > 2 || !/(sample|grid)\?/.test(image.src)) return;
    image.dataset.tries = Number(image.dataset.tries || 0) + 1;
    setTimeout(() => { image.src = `${image.src.split("&again=")[0]}&again=${image.dataset.tries}`; }, 2000);
  }, true);
  onPart("samples", (element) => {
    renew();
    const box = element.querySelector(".samples-grid");
    if (box) box.scrollLeft = left;
  });
  slider.addEventListener("input", showMoment);
  document.getElementById("earlier").addEventListener("click", () => step(-1));
  document.getElementById("later").addEventListener("click", () => step(1));
  renew();
}
document.addEventListener("click", (event) => {
  const sheet = event.target.closest("[data-look]");
  if (!sheet) return;
  looked = null;
  const image = document.createElement("img");
  Object.assign(image, { src: sheet.dataset.look, alt: sheet.dataset.title });
  for (const id of ["look-back", "look-on", "look-compare"]) document.getElementById(id).hidden = true;
  look(image, sheet.dataset.title, sheet.dataset.look);
});
document.getElementById("look-close").addEventListener("click", () => dialog.close());
document.getElementById("look-back").addEventListener("click", () => move(0, -1));
document.getElementById("look-on").addEventListener("click", () => move(0, 1));
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => document.getElementById("look-here").replaceChildren());
dialog.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!way || event.target.tagName === "VIDEO") return;
  event.preventDefault();
  move(...way);
});
