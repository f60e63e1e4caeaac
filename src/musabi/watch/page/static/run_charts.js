// The charts of a page: asks for the numbers, keeps them up to date, and lets a person look closer.
import { onPart } from "./live.js";
import { Plot, dashes, lossWords, nearest, short, svg } from "./plot.js";

const KEY_ZOOM = 2;
const FEWEST_POINTS = 4;
const whole = (value) => Math.round(value).toLocaleString("en-US");
const UNITS = [["s", 1], ["min", 60], ["h", 3600]];

// The slider is finer towards 1, where curves of many steps need it: a third of it for each 0.9, 0.99, 0.999.
const weightOf = (position) => Number((1 - 10 ** (-3 * position)).toPrecision(3));
const positionOf = (weight) => Math.min(1, -Math.log10(1 - weight) / 3);

function lasted(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

/** Puts columns that are new behind the ones that are there. */
function merge(old, fresh) {
  if (!old || !fresh.from || fresh.cuts !== old.cuts || fresh.width !== old.width) return fresh;
  const merged = { ...fresh };
  for (const [name, list] of Object.entries(fresh)) if (Array.isArray(list)) merged[name] = old[name].slice(0, fresh.from).concat(list);
  return merged;
}

function held(run, weight) {
  const of = (one) => one && [one.cuts, one.count, one.width];
  return { loss: of(run.loss), rate: of(run.rate), tag: run.loss?.tag, weight, epochs: run.epochs?.epoch.length, files: run.files };
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

class Charts {
  constructor(root) {
    this.root = root;
    this.ids = JSON.parse(root.dataset.runs);
    this.runs = new Map();
    this.closer = new Map();
    this.zoomed = null;
    this.weight = "";
    this.across = "step";
    this.cursor = null;
    const handlers = {
      zoom: (from, to) => this.zoom(from, to),
      reset: () => this.zoom(null),
      move: (x) => this.point(x),
      key: (event) => this.key(event),
    };
    this.plots = ["loss", "rate"].map((kind) => [kind, new Plot(root.querySelector(`[data-plot="${kind}"]`), handlers)]);
    this.listen();
    this.ask();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  listen() {
    const slider = this.find('[name="weight"]');
    slider.addEventListener("input", () => {
      this.weight = String(weightOf(slider.value));
      this.showWeight(this.weight);
      clearTimeout(this.soon);
      this.soon = setTimeout(() => this.ask(true), 60);
    });
    for (const radio of this.root.querySelectorAll('[name="across"]')) {
      radio.addEventListener("change", () => {
        const steps = this.zoomed && this.stepRange(this.shown()[0], this.zoomed);
        this.across = radio.value;
        this.zoomed = steps && this.shown()[0] ? steps.map((step) => this.xOfStep(this.shown()[0], step)) : null;
        this.draw();
      });
    }
    this.find('[name="log"]').addEventListener("change", () => this.draw());
    this.find("[data-reset]").addEventListener("click", () => this.zoom(null));
    this.root.addEventListener("choose", (event) => {
      this.ids = event.detail;
      if (!this.ids.length) return;
      this.zoomed = null;
      this.closer.clear();
      this.ask();
    });
    onPart("curves", (part) => {
      const newest = [...part.querySelectorAll("data")].map((one) => [one.dataset.run, one.value]);
      const stale = newest.some(([id, version]) => this.ids.includes(id) && this.runs.get(id)?.version !== version);
      const ended = this.shown().some((run) => run.state === "running" && !newest.some(([id]) => id === run.id));
      if (stale || ended) this.ask();
    });
  }

  shown() {
    return this.ids.map((id) => this.runs.get(id)).filter((run) => run?.loss);
  }

  /** Asks for what is new; one question at a time. */
  async ask(closer = false) {
    this.asked = { closer: closer || this.asked?.closer };
    if (this.busy || !this.ids.length) return;
    this.busy = true;
    while (this.asked) {
      const { closer } = this.asked;
      this.asked = null;
      try {
        await this.fetchNew();
        if (this.zoomed && (closer || this.grew)) await this.fetchCloser();
        this.draw();
      } catch {
        this.say("The curves can't be read just now. They are asked for again when there is something new.");
      }
    }
    this.busy = false;
  }

  async get(more) {
    const query = new URLSearchParams({ runs: JSON.stringify(this.ids), weight: this.weight, ...more });
    const answer = await fetch(`curves?${query}`);
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).runs;
  }

  async fetchNew() {
    const weight = this.weight === "" ? null : Number(this.weight);
    const have = {};
    for (const id of this.ids) {
      const run = this.runs.get(id);
      if (run) have[id] = held(run, weight ?? run.weight);
    }
    this.grew = false;
    for (const fresh of await this.get({ have: JSON.stringify(have) })) {
      const old = this.runs.get(fresh.id) || {};
      this.grew ||= fresh.loss?.count !== old.loss?.count;
      const run = { ...old, ...fresh };
      if (fresh.loss) run.loss = merge(old.loss, fresh.loss);
      if (fresh.rate) run.rate = merge(old.rate, fresh.rate);
      this.runs.set(fresh.id, run);
    }
  }

  /** Asks for the range that is looked at in finer columns, where the whole has coarser ones. */
  async fetchCloser() {
    const coarse = this.shown().filter((run) => run.loss.width > 1);
    const range = Object.fromEntries(coarse.map((run) => [run.id, this.stepRange(run, this.zoomed).map(Math.round)]));
    this.closer.clear();
    if (!coarse.length) return;
    for (const fresh of await this.get({ range: JSON.stringify(range) })) if (range[fresh.id]) this.closer.set(fresh.id, fresh);
  }

  async zoom(from, to) {
    this.zoomed = null;
    this.closer.clear();
    if (from !== null) {
      const run = this.shown()[0];
      const steps = run && this.stepRange(run, [from, to]);
      if (steps && steps[1] - steps[0] >= FEWEST_POINTS) this.zoomed = [from, to];
    }
    this.draw();
    if (this.zoomed) this.ask(true);
  }

  /** Returns a value along the x axis of each column. */
  xs(run, series) {
    if (this.across === "time") return series.clock;
    if (this.across === "epoch" && run.per_epoch) return series.step.map((step) => step / run.per_epoch);
    return series.step;
  }

  xOfStep(run, step) {
    if (this.across === "epoch" && run.per_epoch) return step / run.per_epoch;
    if (this.across !== "time") return step;
    const i = nearest(run.loss.step, step);
    return i < 0 ? 0 : run.loss.clock[i];
  }

  stepRange(run, [from, to]) {
    const xs = this.xs(run, run.loss);
    if (this.across === "step") return [from, to];
    return [Math.max(0, nearest(xs, from) - 1), Math.min(xs.length - 1, nearest(xs, to) + 1)].map((i) => run.loss.step[i]);
  }

  lines(kind) {
    const lines = [];
    this.shown().forEach((run) => {
      const index = this.ids.indexOf(run.id);
      const series = this.columns(run)[kind];
      if (!series) return;
      const x = this.xs(run, series);
      if (kind === "rate") {
        lines.push({ x, low: series.low, high: series.high, kind: "strong", index });
        return;
      }
      lines.push({ x, low: series.low, high: series.high, kind: "faint", index, quiet: this.ids.length > 1 });
      const epochs = run.epochs;
      if (this.ids.length === 1 && epochs?.epoch.length && epochs.step[0] !== null && run.per_epoch !== 1) {
        lines.push({ x: epochs.step.map((step) => this.xOfStep(run, step)), low: epochs.value, kind: "dots", index });
      }
      lines.push({ x, low: series.smooth, kind: "strong", index });
    });
    return lines;
  }

  draw() {
    const shown = this.shown();
    if (!shown.length) {
      this.say([...this.runs.values()].filter((run) => this.ids.includes(run.id)).map((run) => run.remark).find(Boolean) || "No number yet.");
    }
    const loss = this.lines("loss"), rate = this.lines("rate");
    const ends = [...loss, ...rate].flatMap((line) => (line.x.length ? [line.x[0], line.x[line.x.length - 1]] : []));
    const [from, to] = this.zoomed || (ends.length ? [Math.min(...ends), Math.max(...ends)] : [0, 1]);
    const log = this.find('[name="log"]').checked;
    const common = { from, to: to > from ? to : from + 1, xTicks: this.across === "time" ? timeTicks : null, xUnit: this.across };
    // Of several runs only the resumes are marked: their checkpoints would be a fence.
    const marked = (run) => (run.marks || []).filter((mark) => mark.kind === "resumed" || this.ids.length === 1);
    const marks = shown.flatMap((run) => marked(run).map((mark) => ({ ...mark, x: this.xOfStep(run, mark.step), index: this.ids.indexOf(run.id) })));
    for (const [kind, plot] of this.plots) {
      const lines = kind === "loss" ? loss : rate;
      plot.element.closest("figure").hidden = kind === "rate" && !lines.length;
      plot.draw({ ...common, lines, marks: kind === "loss" ? marks : marks.filter((mark) => mark.kind === "resumed"), log });
    }
    this.around(shown, { ...common, log });
    this.point(this.cursor);
  }

  /** Fills in what stands around the curves. */
  around(shown, { from, to }) {
    const slider = this.find('[name="weight"]');
    if (this.weight === "" && shown[0]) {
      slider.value = positionOf(shown[0].weight);
      this.showWeight(shown[0].weight);
    }
    this.find('[value="epoch"]').disabled = !shown.some((run) => run.per_epoch);
    this.find("[data-reset]").hidden = !this.zoomed;
    const titles = new Set(shown.filter((run) => run.rate).map((run) => run.rate.title));
    this.find("[data-rate-title]").textContent = titles.size === 1 ? [...titles][0] : "Learning rate";
    if (shown.length) this.say(shown.filter((run) => run.remark).map((run) => (shown.length > 1 ? `${run.name}: ${run.remark}` : run.remark)).join(" "));
    for (const [, plot] of this.plots) {
      plot.element.setAttribute("aria-valuemin", Math.round(from));
      plot.element.setAttribute("aria-valuemax", Math.round(to));
    }
    this.legend(shown);
    this.table(shown);
    this.verdicts(shown);
  }

  showWeight(weight) {
    this.find(".slider output").textContent = weight;
    this.find('[name="weight"]').setAttribute("aria-valuetext", weight);
  }

  say(text) {
    const remark = this.find(".remark");
    remark.hidden = !text;
    remark.textContent = text;
  }

  legend(shown) {
    const key = (index, kind) => {
      const picture = svg("svg", { width: 30, height: 12, "aria-hidden": "true" });
      const group = svg("g", { class: `curve ${kind} c${index + 1}` });
      if (kind === "dots") group.append(svg("circle", { cx: 15, cy: 6, r: 3 }));
      else if (kind === "mark checkpoint") group.append(svg("line", { x1: 15, x2: 15, y1: 1, y2: 11 }));
      else if (kind === "mark resumed") group.append(svg("line", { x1: 15, x2: 15, y1: 0, y2: 12 }));
      else group.append(svg("path", { d: "M1 6H29", "stroke-dasharray": kind === "strong" ? dashes(index) : "" }));
      picture.append(group);
      return picture;
    };
    const item = (index, kind, ...words) => {
      const made = element("li");
      made.append(key(index, kind), ...words);
      return made;
    };
    const items = [];
    if (shown.length === 1) {
      const [run] = shown;
      const index = this.ids.indexOf(run.id);
      const plain = run.loss.tag !== "loss/current";
      items.push(item(index, "faint", plain ? "as printed" : "each step"), item(index, "strong", "smoothed"));
      if (run.epochs?.epoch.length) items.push(item(index, "dots", "mean of an epoch"));
      if (run.marks?.some((mark) => mark.kind === "checkpoint")) items.push(item(index, "mark checkpoint", "checkpoint saved"));
      if (run.marks?.some((mark) => mark.kind === "resumed")) items.push(item(index, "mark resumed", "resumed"));
    } else {
      for (const run of shown) {
        const link = element("a", run.name, { href: `run?id=${encodeURIComponent(run.id)}` });
        items.push(item(this.ids.indexOf(run.id), "strong", link, ` ${run.id}`));
      }
    }
    this.find(".legend").replaceChildren(...items);
  }

  table(shown) {
    const epochs = [...new Set(shown.flatMap((run) => run.epochs?.epoch || []))].sort((a, b) => a - b);
    const details = this.find("table.epochs").closest("details");
    details.hidden = !epochs.length;
    const key = JSON.stringify(shown.map((run) => [run.id, run.epochs?.epoch.length, run.epochs?.value.at(-1)]));
    if (key === this.tabled) return;
    this.tabled = key;
    const head = element("tr");
    head.append(element("th", "Epoch", { scope: "col" }), ...shown.map((run) => element("th", shown.length > 1 ? run.name : "Mean loss", { scope: "col", class: "number" })));
    this.find("table.epochs thead").replaceChildren(head);
    const means = shown.map((run) => new Map((run.epochs?.epoch || []).map((epoch, i) => [epoch, run.epochs.value[i]])));
    const rows = epochs.map((epoch) => {
      const row = element("tr");
      row.append(element("th", whole(epoch), { scope: "row" }), ...means.map((mean) => element("td", mean.has(epoch) ? lossWords(mean.get(epoch)) : "", { class: "number" })));
      return row;
    });
    this.find("table.epochs tbody").replaceChildren(...rows);
  }

  verdicts(shown) {
    if (!("words" in this.root.dataset)) return;
    const several = shown.length > 1;
    const last = (run) => run.words?.[run.words.length - 1];
    const blocks = shown.filter((run) => run.words?.length).map((run) => {
      const block = element("p");
      block.append(...(several ? [element("strong", this.label(run).replace(/, $/, ": "))] : []), run.words.slice(0, several ? -1 : undefined).join(" "));
      return block;
    });
    if (several && shown[0] && last(shown[0])) blocks.push(element("p", last(shown[0]), { class: "soft" }));
    this.find(".verdicts").replaceChildren(...blocks);
  }

  /** Returns the columns to draw: the closer ones where somebody looks closer. */
  columns(run) {
    return (this.zoomed && this.closer.get(run.id)) || run;
  }

  valuesAt(run, i) {
    const { loss, rate } = this.columns(run);
    const low = loss.low[i], high = loss.high ? loss.high[i] : low;
    const raw = high === low ? lossWords(low) : `${lossWords(low)} to ${lossWords(high)}`;
    const at = rate ? nearest(rate.step, loss.step[i]) : -1;
    return `loss ${raw}, smoothed ${lossWords(loss.smooth[i])}` + (at < 0 ? "" : `, rate ${short(rate.low[at])}`);
  }

  /** Returns what a run is called here: with its id where another one has the same name. */
  label(run) {
    const shown = this.shown();
    if (shown.length < 2) return "";
    return shown.some((other) => other !== run && other.name === run.name) ? `${run.name} (${run.id}), ` : `${run.name}, `;
  }

  wordsAt(run, x) {
    const series = this.columns(run).loss;
    const i = x === null ? series.step.length - 1 : nearest(this.xs(run, series), x);
    if (i < 0) return "no number yet";
    const step = series.step[i];
    const near = (run.marks || []).find((mark) => mark.step <= step && mark.step > step - series.width);
    const where = [`step ${whole(step)}`, run.per_epoch ? `epoch ${Number((step / run.per_epoch).toFixed(1))}` : "", lasted(series.clock[i])].filter(Boolean).join(", ");
    const mark = near ? `. ${near.kind === "resumed" ? near.label : `Checkpoint: ${near.label}`}` : "";
    return `${where}: ${this.valuesAt(run, i)}${mark}`;
  }

  /** Shows what the curves say at x, and where nobody points, at their end. */
  point(x) {
    this.cursor = x;
    for (const [, plot] of this.plots) plot.point(x);
    const shown = this.shown();
    const parts = shown.map((run) => `${this.label(run)}${x === null ? "newest: " : ""}${this.wordsAt(run, x)}`).map((part) => (shown.length < 2 ? part[0].toUpperCase() + part.slice(1) : part));
    const lines = parts.map((part, i) => element("span", part, { class: `c${this.ids.indexOf(shown[i].id) + 1}` }));
    this.find(".readout").replaceChildren(...lines);
    for (const [, plot] of this.plots) {
      plot.element.setAttribute("aria-valuenow", Math.round(x ?? plot.spec?.to ?? 0));
      plot.element.setAttribute("aria-valuetext", parts.join("; ") || "No number yet.");
    }
  }

  key(event) {
    const run = this.shown()[0];
    if (!run || event.ctrlKey || event.metaKey || event.altKey) return;
    const xs = this.xs(run, this.columns(run).loss);
    const { from, to } = this.plots[0][1].spec;
    const inside = [Math.max(0, nearest(xs, from)), nearest(xs, to)];
    const at = this.cursor === null ? inside[1] : nearest(xs, this.cursor);
    const by = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: at - by, ArrowRight: at + by, PageUp: at - 100, PageDown: at + 100, Home: inside[0], End: inside[1] };
    if (event.key in moves) this.point(xs[Math.min(inside[1], Math.max(inside[0], moves[event.key]))]);
    else if (event.key === "+" || event.key === "=") this.aroundCursor(xs[at], (to - from) / KEY_ZOOM);
    else if (event.key === "-") this.aroundCursor(xs[at], (to - from) * KEY_ZOOM);
    else if (event.key === "0" || (event.key === "Escape" && this.zoomed)) this.zoom(null);
    else return;
    event.preventDefault();
  }

  aroundCursor(x, width) {
    const full = this.xs(this.shown()[0], this.shown()[0].loss);
    const [first, last] = [full[0], full[full.length - 1]];
    if (width >= last - first) this.zoom(null);
    else {
      const from = Math.min(Math.max(first, x - width / 2), last - width);
      this.zoom(from, from + width);
    }
  }
}

function timeTicks(from, to, count) {
  const [name, seconds] = [...UNITS].reverse().find(([, size]) => to - from >= 3 * size) || UNITS[0];
  const rough = (to - from) / seconds / Math.max(2, count);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const nice = seconds > 1 && rough < 60 && seconds < 3600 ? [1, 2, 5, 10, 15, 30, 60, 120] : [1, 2, 5, 10].map((factor) => factor * power);
  const step = (nice.find((one) => one >= rough) || 60) * seconds;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push([at, `${Number((at / seconds).toFixed(2))} ${name}`]);
  return ticks;
}

for (const root of document.querySelectorAll("[data-charts]")) new Charts(root);
