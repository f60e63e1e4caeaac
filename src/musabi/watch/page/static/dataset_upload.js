// Brings files from this browser into the dataset: in chunks, on after a break, on after a reload.
import { say, send } from "./act.js";

const CHUNK = 4 * 1024 * 1024;
const SMALL = 512 * 1024; // Smaller files travel together.
const MOST_TOGETHER = 400; // Files that are brought in at once.
const AT_ONCE = 3;
const WAITS = [1, 2, 4, 8, 15];

const zone = document.getElementById("drop");
const list = document.getElementById("uploads");
const spoken = document.getElementById("upload-said");
const running = new Set();

const units = ["B", "KB", "MB", "GB", "TB"];
function bytes(number) {
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}
function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}
const many = (number) => `${number.toLocaleString("en")} ${number === 1 ? "file" : "files"}`;
const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const query = (one, more = {}) => `upload?${new URLSearchParams({ name: one.name, size: one.size, modified: one.modified, ...more })}`;
const plain = ({ name, size, modified }) => ({ name, size, modified });

class Stopped extends Error {}

/** Sends again and again while nobody answers: the network broke, or a proxy did. */
async function patiently(drop, path, body, method) {
  for (let tries = 0; ; tries += 1) {
    if (drop.stopped) throw new Stopped();
    try {
      const answer = await send(path, body, method);
      drop.tell("");
      return answer;
    } catch (problem) {
      if (problem.status && problem.status < 500) throw problem;
      if (problem.status === 500 && tries > 3) throw problem;
      const wait = WAITS[Math.min(tries, WAITS.length - 1)];
      drop.tell(`No answer. Trying again in ${wait} s; it goes on where it was.`);
      await sleep(wait);
    }
  }
}

/** What was dropped in one go: its row on the page, and how far it is. */
class Drop {
  constructor(files) {
    this.files = files;
    this.total = files.reduce((sum, one) => sum + one.size, 0);
    this.sent = 0;
    this.whole = 0;
    this.stopped = false;
    this.failed = [];
    this.results = [];
    this.marks = [[performance.now(), 0]];
    this.row = document.createElement("li");
    this.title = document.createElement("strong");
    this.title.textContent = files.length === 1 ? files[0].name : many(files.length);
    this.words = document.createElement("span");
    this.words.className = "soft words";
    this.bar = document.createElement("progress");
    this.bar.max = Math.max(1, this.total);
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", `Upload of ${this.title.textContent}`);
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.textContent = "Cancel";
    this.button.setAttribute("aria-label", `Cancel the upload of ${this.title.textContent}`);
    this.button.addEventListener("click", () => this.stop());
    this.row.append(this.title, this.button, this.words, this.bar);
    list.prepend(this.row);
    this.note = "";
    this.show();
  }

  tell(note) {
    if (note === this.note) return;
    this.note = note;
    this.show();
  }

  speed() {
    const now = performance.now();
    this.marks.push([now, this.sent]);
    while (this.marks.length > 2 && now - this.marks[0][0] > 8000) this.marks.shift();
    const [then, before] = this.marks[0];
    return now - then > 800 ? ((this.sent - before) * 1000) / (now - then) : 0;
  }

  show() {
    this.bar.value = this.sent;
    const speed = this.speed();
    const parts = [`${bytes(this.sent)} of ${bytes(this.total)}`];
    if (this.files.length > 1) parts.unshift(`${this.whole.toLocaleString("en")} of ${many(this.files.length)}`);
    if (speed > 0 && this.sent < this.total) parts.push(`${bytes(speed)}/s`, `${duration((this.total - this.sent) / speed)} left`);
    this.words.textContent = this.note || parts.join(", ");
    this.words.classList.toggle("warn", Boolean(this.note));
  }

  add(number) {
    this.sent += number;
    this.show();
  }

  stop() {
    this.stopped = true;
    this.tell("Stopping.");
  }

  end(text, kind) {
    running.delete(this);
    this.row.classList.add("over");
    this.words.className = `words ${kind}`;
    this.words.textContent = text;
    this.bar.remove();
    this.button.textContent = "Close";
    this.button.removeAttribute("aria-label");
    this.button.replaceWith(this.button.cloneNode(true));
    this.row.querySelector("button").addEventListener("click", () => this.row.remove());
    spoken.textContent = `${this.title.textContent}: ${text}`;
  }
}

async function bytesOf(one, from, to) {
  try {
    return await one.file.slice(from, to).arrayBuffer();
  } catch {
    throw Object.assign(new Error(`${one.name} can't be read any more. Choose it again.`), { status: 422 });
  }
}

async function sendLarge(drop, one) {
  let { offset } = await patiently(drop, query(one), undefined, "GET");
  drop.add(offset);
  do {
    const piece = await bytesOf(one, offset, offset + CHUNK);
    try {
      const answer = await patiently(drop, query(one, { offset }), new Blob([piece]), "PUT");
      drop.add(answer.offset - offset);
      offset = answer.offset;
    } catch (problem) {
      if (problem.status !== 409) throw problem;
      drop.add(problem.value.offset - offset); // another tab, or an answer that got lost
      offset = problem.value.offset;
    }
  } while (offset < one.size);
}

async function sendSmall(drop, files) {
  const contents = await Promise.all(files.map((one) => bytesOf(one, 0, one.size)));
  const body = new Blob([`${JSON.stringify(files.map(plain))}\n`, ...contents]);
  const answer = await patiently(drop, "upload-many", body, "POST");
  for (const each of answer.refused) drop.failed.push(each);
  drop.add(files.reduce((sum, one) => sum + one.size, 0));
}

/** Returns the files as steps: a large one alone, small ones together. */
function steps(files) {
  const found = [];
  let group = [];
  let weight = 0;
  for (const one of files) {
    if (one.size > SMALL) {
      found.push([one]);
      continue;
    }
    if (weight + one.size > CHUNK || group.length >= 200) {
      found.push(group);
      [group, weight] = [[], 0];
    }
    group.push(one);
    weight += one.size;
  }
  return group.length ? [...found, group] : found;
}

async function sendAll(drop, files) {
  const left = steps(files);
  const work = async () => {
    for (let step = left.shift(); step; step = left.shift()) {
      if (drop.stopped) throw new Stopped();
      try {
        if (step.length === 1 && step[0].size > SMALL) await sendLarge(drop, step[0]);
        else await sendSmall(drop, step);
        drop.whole += step.length;
        drop.show();
      } catch (problem) {
        if (problem instanceof Stopped || problem.status === 401 || problem.status === 403) throw problem;
        for (const one of step) drop.failed.push({ name: one.name, message: problem.message });
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, work));
  const broken = ended.find((one) => one.status === "rejected");
  if (broken) throw broken.reason;
}

async function bringIn(drop, files) {
  const failed = new Set(drop.failed.map((one) => one.name));
  const whole = files.filter((one) => !failed.has(one.name));
  if (!whole.length) return;
  drop.bar.removeAttribute("value");
  drop.words.textContent = `Bringing ${whole.length === 1 ? whole[0].name : many(whole.length)} into the dataset.`;
  let answer = await patiently(drop, "upload-finish", { files: whole.map(plain) });
  while (!answer.over) answer = await patiently(drop, "upload-finish", { task: answer.task });
  drop.results.push(answer.message);
}

async function run(drop) {
  running.add(drop);
  try {
    for (let at = 0; at < drop.files.length; at += MOST_TOGETHER) {
      const files = drop.files.slice(at, at + MOST_TOGETHER);
      await sendAll(drop, files);
      await bringIn(drop, files);
      document.dispatchEvent(new CustomEvent("dataset-changed"));
    }
    const reasons = [...new Set(drop.failed.map((one) => one.message))];
    const more = reasons.length > 4 ? [`And ${reasons.length - 4} more.`] : [];
    drop.end([...drop.results, ...reasons.slice(0, 4), ...more].join("\n"), reasons.length ? "bad" : "good");
  } catch (problem) {
    if (problem instanceof Stopped) {
      await forget(drop.files);
      drop.end(["Cancelled.", ...drop.results].join("\n"), "soft");
    } else if (problem.status === 401 || problem.status === 403) {
      drop.end(`${problem.message} Then choose the same files again: it goes on where it was.`, "bad");
    } else drop.end([...drop.results, problem.message].join("\n"), "bad");
  }
}

function take(found) {
  const files = found.filter((one) => !one.name.split("/").some((part) => part.startsWith(".")));
  if (!files.length) {
    if (found.length) say("Those files are hidden ones. Choose images, videos, captions or a zip.", "bad");
    return;
  }
  // In the order of their names, so that an image and its caption are brought in together.
  files.sort((one, other) => (one.name < other.name ? -1 : 1));
  run(new Drop(files));
}

const asOne = (file, name) => ({ file, name: name || file.name, size: file.size, modified: file.lastModified });

async function inFolder(entry, above) {
  const name = above ? `${above}/${entry.name}` : entry.name;
  if (entry.isFile) return [asOne(await new Promise((done, failed) => entry.file(done, failed)), name)];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!entries.length) return found;
    for (const one of entries) found.push(...(await inFolder(one, name)));
  }
}

async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => asOne(file));
  return (await Promise.all(entries.map((entry) => inFolder(entry, "")))).flat();
}

function button(id, field) {
  const chooser = document.getElementById(field);
  document.getElementById(id).addEventListener("click", () => chooser.click());
  const chosen = () => {
    take([...chooser.files].map((file) => asOne(file, file.webkitRelativePath)));
    chooser.value = "";
  };
  chooser.addEventListener("change", chosen);
  if (chooser.files.length) chosen(); // before this script was there
}

/** Removes what has come of files, on the volume. */
async function forget(files) {
  for (let at = 0; at < files.length; at += MOST_TOGETHER) {
    await send("upload-forget", { files: files.slice(at, at + MOST_TOGETHER).map(plain) }).catch(() => null);
  }
}

/** Says what an earlier visit left half way. */
async function unfinished() {
  const answer = await send("upload", undefined, "GET").catch(() => ({ unfinished: [] }));
  if (!answer.unfinished.length || running.size) return;
  const row = document.createElement("li");
  const words = document.createElement("span");
  words.className = "words";
  const [first] = answer.unfinished;
  const rest = answer.unfinished.length > 1 ? ` and ${many(answer.unfinished.length - 1)} more` : "";
  words.textContent = `Not finished: ${first.name}${rest}, ${bytes(first.offset)} of ${bytes(first.size)} are here. Choose the same ${rest ? "files" : "file"} again to go on.`;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "Forget";
  remove.addEventListener("click", async () => {
    await forget(answer.unfinished);
    row.remove();
  });
  row.append(words, remove);
  list.append(row);
  document.getElementById("files").addEventListener("change", () => row.remove(), { once: true });
}

if (zone) {
  button("choose-files", "files");
  button("choose-folder", "folder");
  const touch = matchMedia("(pointer: coarse)").matches;
  document.getElementById("choose-folder").hidden = touch || !("webkitdirectory" in document.createElement("input"));
  const carries = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  let depth = 0;
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth += 1;
    zone.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (carries(event) && (depth -= 1) <= 0) zone.classList.remove("over");
  });
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    zone.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
  addEventListener("beforeunload", (event) => running.size && event.preventDefault());
  unfinished();
}
