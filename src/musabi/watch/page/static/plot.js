// Draws curves as SVG, and tells where a person points, drags and moves with the keys.
const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "8 4", "2 3", "10 3 2 3", "14 5"];
const MARGIN = { top: 8, right: 10, bottom: 24, left: 52 };
const MOST_ARROWS = 60;
const CROWDED_PX = 9;
let plots = 0;

/** Returns an SVG element with these attributes. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Returns the dashes of the nth run's line, so that lines are told apart without their colour. */
export const dashes = (index) => DASHES[index % DASHES.length];

/** Returns a number as people read it. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "no number";
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** Returns a loss with as many decimals as everywhere on the page, so that it stands still while it changes. */
export function lossWords(value) {
  const size = Math.abs(value);
  return Number.isFinite(value) && value !== null && size >= 1e-3 && size < 1e3 ? value.toFixed(4) : short(value);
}

function roundTicks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at <= Math.floor(high / step + 1e-9); at++) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) decades.push(power);
  const factors = decades.length > 4 ? [1] : decades.length > 2 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = decades.flatMap((power) => factors.map((factor) => Number((factor * 10 ** power).toPrecision(6))));
  const inside = ticks.filter((tick) => tick >= low && tick <= high);
  return inside.length > 1 ? inside : roundTicks(low, high, 4);
}

/** Returns a tick's label with as many digits as the distance to the next tick needs. */
function tickLabel(value, distance) {
  const size = Math.abs(value);
  const power = (one) => Math.floor(Math.log10(one) + 1e-9);
  if (size && (size < 1e-3 || size >= 1e7)) {
    return value.toExponential(distance ? Math.max(0, power(size) - power(distance)) : 0).replace("e+", "e");
  }
  const digits = distance ? Math.max(0, -power(distance)) : 4;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits, minimumFractionDigits: distance && size ? digits : 0 });
}

/** Returns the range of values to show: everything, but for spikes so high that the rest would be a flat line. */
function valueRange(lines, from, to, log) {
  const lows = [], highs = [], sure = [];
  for (const line of lines) {
    for (let i = 0; i < line.x.length; i++) {
      if (line.x[i] < from || line.x[i] > to) continue;
      const low = line.low[i], high = line.high ? line.high[i] : low;
      if (low === null || (log && high <= 0)) continue;
      if (line.kind !== "faint") sure.push(low);
      if (!log || low > 0) lows.push(low);
      highs.push(high);
    }
  }
  if (!highs.length) return null;
  const sorted = Float64Array.from(highs).sort();
  const usual = sorted[Math.floor((sorted.length - 1) * 0.98)];
  const top = sorted[sorted.length - 1];
  let low = lows.reduce((a, b) => Math.min(a, b), top);
  let high = top;
  if (!log && usual > 0 && top > 3 * usual) high = sure.reduce((a, b) => Math.max(a, Math.min(b, 3 * usual)), usual * 1.5);
  if (log) return high > low ? [low / 1.1, high * 1.1] : [low / 2, high * 2];
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  low = low >= 0 && low - pad * 3 < 0 ? 0 : low - pad;
  return [low, high + pad];
}

export class Plot {
  /** `handlers`: zoom(from, to), reset(), move(x), key(event). */
  constructor(element, handlers) {
    this.element = element;
    this.handlers = handlers;
    this.clip = `plot-${++plots}`;
    this.spec = null;
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.over(event));
    element.addEventListener("pointerup", (event) => this.up(event));
    element.addEventListener("pointercancel", () => this.stopDrag());
    element.addEventListener("pointerleave", () => this.dragged === undefined && handlers.move(null));
    element.addEventListener("dblclick", () => handlers.reset());
    element.addEventListener("keydown", (event) => handlers.key(event));
    new ResizeObserver(() => this.spec && this.draw(this.spec)).observe(element);
  }

  /** Draws `spec`: {lines, marks, from, to, log, xTicks(from, to, count), xUnit}. A line: {x, low, high, kind, index}. */
  draw(spec) {
    this.spec = spec;
    const range = valueRange(spec.lines, spec.from, spec.to, spec.log);
    this.element.classList.toggle("empty", !range); // no large box around nothing
    this.width = this.element.clientWidth;
    this.height = this.element.clientHeight;
    if (!this.width) return;
    const picture = svg("svg", { width: this.width, height: this.height, "aria-hidden": "true" });
    if (!range) {
      picture.append(svg("text", { x: this.width / 2, y: this.height / 2, "text-anchor": "middle" }, "No number yet."));
      this.element.replaceChildren(picture);
      this.range = null;
      return;
    }
    this.range = range;
    const { left, top, right, bottom } = MARGIN;
    picture.append(svg("clipPath", { id: this.clip }, svg("rect", { x: left, y: top, width: this.width - left - right, height: this.height - top - bottom })));
    picture.append(this.axes(spec, range));
    const curves = svg("g", { "clip-path": `url(#${this.clip})` });
    for (const line of spec.lines.filter((one) => one.kind === "faint")) curves.append(this.shape(line));
    curves.append(...this.marks(spec.marks));
    for (const line of spec.lines.filter((one) => one.kind !== "faint")) curves.append(this.shape(line));
    this.pointer = svg("g", { class: "pointer" });
    picture.append(curves, ...this.beyond(spec), this.pointer);
    this.element.replaceChildren(picture);
  }

  /** Shows where somebody points: a line at x, a dot on each strong line. null takes it away. */
  point(x) {
    if (!this.range || !this.pointer) return;
    this.pointer.replaceChildren();
    if (x === null || x < this.spec.from || x > this.spec.to) return;
    const at = this.x(x).toFixed(1);
    this.pointer.append(svg("line", { x1: at, x2: at, y1: MARGIN.top, y2: this.height - MARGIN.bottom }));
    for (const line of this.spec.lines) {
      const i = line.kind === "strong" ? nearest(line.x, x) : -1;
      if (i < 0 || line.low[i] === null) continue;
      this.pointer.append(svg("circle", { class: `curve c${line.index + 1}`, cx: this.x(line.x[i]).toFixed(1), cy: this.y(line.low[i]).toFixed(1), r: 4 }));
    }
  }

  x(value) {
    const { from, to } = this.spec;
    return MARGIN.left + ((value - from) / (to - from || 1)) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const [low, high] = this.range;
    const share = this.spec.log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
    return MARGIN.top + (1 - Math.min(1, Math.max(0, share))) * (this.height - MARGIN.top - MARGIN.bottom);
  }

  axes(spec, [low, high]) {
    const axes = svg("g", { class: "axes" });
    const ticks = spec.log ? logTicks(low, high) : roundTicks(low, high, Math.max(2, this.height / 55));
    for (const tick of ticks) {
      const y = this.y(tick).toFixed(1);
      axes.append(svg("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }));
      axes.append(svg("text", { x: MARGIN.left - 7, y: Number(y) + 4, "text-anchor": "end" }, tickLabel(tick, spec.log ? 0 : ticks[1] - ticks[0])));
    }
    const across = spec.xTicks ? spec.xTicks(spec.from, spec.to, this.width / 100) : roundTicks(spec.from, spec.to, Math.max(2, this.width / 100)).map((tick) => [tick, tick.toLocaleString("en-US")]);
    for (const [tick, label] of across) {
      const x = this.x(tick);
      if (x > this.width - MARGIN.right + 1) continue;
      const anchor = x > this.width - 34 ? "end" : x < MARGIN.left + 8 ? "start" : "middle";
      axes.append(svg("text", { x: x.toFixed(1), y: this.height - 6, "text-anchor": anchor }, label));
    }
    axes.append(svg("text", { x: MARGIN.left - 7, y: this.height - 6, "text-anchor": "end" }, spec.xUnit));
    return axes;
  }

  shape(line) {
    const group = svg("g", { class: `curve ${line.kind} c${line.index + 1}${line.quiet ? " quiet" : ""}` });
    if (line.kind === "dots") {
      const many = line.x.filter((x) => x >= this.spec.from && x <= this.spec.to).length > this.width / CROWDED_PX;
      for (let i = 0; i < line.x.length; i++) {
        if (line.low[i] === null || line.x[i] === null) continue;
        group.append(svg("circle", { cx: this.x(line.x[i]).toFixed(1), cy: this.y(line.low[i]).toFixed(1), r: many ? 1.3 : 2.8 }));
      }
      return group;
    }
    if (line.kind === "faint" && line.x.length > (this.width - MARGIN.left) / 2) {
      group.append(svg("path", { d: this.bars(line) }));
      return group;
    }
    const path = [];
    let pen = "M";
    for (let i = 0; i < line.x.length; i++) {
      if (line.low[i] === null) {
        pen = "M";
        continue;
      }
      const x = this.x(line.x[i]).toFixed(1);
      path.push(`${pen}${x} ${this.y(line.low[i]).toFixed(1)}`);
      pen = "L";
      if (line.high && line.high[i] !== line.low[i]) path.push(`L${x} ${this.y(line.high[i]).toFixed(1)}`);
    }
    group.append(svg("path", { d: path.join(""), "stroke-dasharray": line.kind === "strong" ? dashes(line.index) : "" }));
    return group;
  }

  /** A bar for each pixel column, from the lowest to the highest value: lines over one another would be opaque. */
  bars(line) {
    const bars = new Map();
    for (let i = 0; i < line.x.length; i++) {
      if (line.low[i] === null || line.x[i] < this.spec.from || line.x[i] > this.spec.to) continue;
      const x = Math.round(this.x(line.x[i]));
      const high = this.y(line.high ? line.high[i] : line.low[i]), low = this.y(line.low[i]);
      const bar = bars.get(x);
      bars.set(x, bar ? [Math.min(bar[0], high), Math.max(bar[1], low)] : [high, low]);
    }
    return [...bars].map(([x, [top, bottom]]) => `M${x + 0.5} ${top.toFixed(1)}V${(bottom + 1).toFixed(1)}`).join("");
  }

  /** Small arrows at the upper edge where values lie beyond it. */
  beyond(spec) {
    const high = this.range[1];
    const arrows = [];
    let last = -9;
    for (const line of spec.lines.filter((one) => one.kind === "faint")) {
      for (let i = 0; i < line.x.length && arrows.length < MOST_ARROWS; i++) {
        const value = line.high ? line.high[i] : line.low[i];
        if (value === null || value <= high || line.x[i] < spec.from || line.x[i] > spec.to) continue;
        const x = this.x(line.x[i]);
        if (Math.abs(x - last) < 7) continue;
        last = x;
        arrows.push(svg("path", { class: `curve beyond c${line.index + 1}`, d: `M${x.toFixed(1)} 1l4 6h-8z` }));
      }
    }
    return arrows;
  }

  marks(marks) {
    const bottom = this.height - MARGIN.bottom;
    return (marks || []).map((mark) => {
      const x = this.x(mark.x).toFixed(1);
      const resumed = mark.kind === "resumed";
      const line = svg("line", { x1: x, x2: x, y1: resumed ? MARGIN.top : bottom - 9, y2: bottom });
      return svg("g", { class: `curve mark ${mark.kind} c${mark.index + 1}` }, line);
    });
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return this.spec.from + Math.min(1, Math.max(0, share)) * (this.spec.to - this.spec.from);
  }

  down(event) {
    if (!this.range || event.button) return;
    this.dragged = event.clientX;
    this.element.setPointerCapture(event.pointerId);
  }

  over(event) {
    if (!this.range) return;
    const x = this.at(event);
    this.handlers.move(x);
    if (this.dragged === undefined || Math.abs(event.clientX - this.dragged) < 6) return;
    const begin = this.x(this.at({ clientX: this.dragged }));
    const end = this.x(x);
    this.pointer.append(svg("rect", { class: "chosen", x: Math.min(begin, end), width: Math.abs(end - begin), y: MARGIN.top, height: this.height - MARGIN.top - MARGIN.bottom }));
  }

  up(event) {
    if (this.dragged === undefined) return;
    const [begin, end] = [this.at({ clientX: this.dragged }), this.at(event)].sort((a, b) => a - b);
    const far = Math.abs(event.clientX - this.dragged) >= 6;
    this.stopDrag();
    if (far) this.handlers.zoom(begin, end);
  }

  stopDrag() {
    this.dragged = undefined;
  }
}

/** Returns the index of the value nearest to x in a rising list, or -1 where it is empty. */
export function nearest(list, x) {
  let low = 0, high = list.length - 1;
  if (high < 0) return -1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low && x - list[low - 1] < list[low] - x ? low - 1 : low;
}
