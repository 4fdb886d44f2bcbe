// Draws the frames of one live run as they are pushed. Streamlit's element tree is not touched by them.

const PARTS = new WeakMap();
const SPECS = new Map();
const LONGEST_REST_MS = 1000;
const LONGEST_WAIT_MS = 3200;  // until the next attempt to connect
// A page whose policy forbids code out of texts has Vega's expressions interpreted, which takes twice as long a frame.
const COMPILES = (() => {
  try {
    return Boolean(new Function("return 1"));
  } catch {
    return false;
  }
})();
let vega;

// Where the app is served from, behind whatever proxy: the folder of Streamlit's own scripts says it.
const base = () => new URL("../../", document.querySelector('script[src*="static/js/index"]').src);

const loadVega = (file) =>
  (vega ??= import(new URL(`static/js/${file}`, base()).href)
    .then((module) => Object.values(module).find((value) => typeof value === "function")()));

const escape = (text) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const marked = (text) =>
  escape(text).replace(/`([^`]+)`/g, "<code>$1</code>").replace(/\*\*([^*]+)\*\*/g, "<b>$1</b>");

const ARRAYS = {
  f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array,
  i4: Int32Array, u4: Uint32Array,
};

// When the newest step was computed (8 bytes), then what `frames.encode` says.
function decode(buffer) {
  const length = new DataView(buffer).getUint32(8, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 12, length)));
  const start = 12 + length;
  const column = ([dtype, at, count, words]) => {
    if (dtype === "json") return at;
    const values = new ARRAYS[dtype](buffer, start + at, count);
    if (words) return Array.from(values, (code) => words[code]);
    return dtype[0] === "f" ? Array.from(values, (x) => (Number.isNaN(x) ? null : x)) : values;
  };
  for (const item of header.items)
    for (const name in item.data ?? {}) {
      const names = Object.keys(item.data[name]);
      const columns = names.map((c) => column(item.data[name][c]));
      const rows = new Array(columns[0]?.length ?? 0);
      for (let i = 0; i < rows.length; i++) {
        const row = {};
        for (let c = 0; c < names.length; c++) row[names[c]] = columns[c][i];
        rows[i] = row;
      }
      item.data[name] = rows;
    }
  return header;
}

// The colours and type of the app's theme, light or dark.
function themed(element) {
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue("--st-text-color").trim() || style.color;
  const ground = style.getPropertyValue("--st-background-color").trim() || "Canvas";
  const font = style.getPropertyValue("--st-font").trim() || style.fontFamily;
  const axis = { labelColor: ink, titleColor: ink, gridColor: ink, gridOpacity: 0.14, domainColor: ink, tickColor: ink,
    domainOpacity: 0.4, tickOpacity: 0.4, titleFontWeight: "normal" };
  return { background: "transparent", font, view: { stroke: "transparent" }, axis,
    legend: { labelColor: ink, titleColor: ink }, title: { color: ink, fontWeight: 600 }, text: { color: ink },
    style: { halo: { stroke: ground, strokeWidth: 5, strokeJoin: "round" } } };
}

// Sizes of type for a chart, from what the screen is. A specification has those for a small one.
const BASE = 13;
function sizes(font) {
  const labels = { labelFontSize: font, titleFontSize: font };
  return { axis: labels, axisLeft: { minExtent: 3.2 * font },  // room for the longest labels, so that the plot holds still
    legend: { ...labels, symbolSize: 9 * font }, title: { fontSize: 1.15 * font } };
}
const scaled = (part, by) => {
  if (Array.isArray(part)) return part.map((one) => scaled(one, by));
  if (!part || typeof part !== "object") return part;
  const copy = {};
  for (const key in part) copy[key] = key === "datasets" ? part[key] : scaled(part[key], by);
  for (const key of copy.type === "text" ? ["fontSize", "dx", "dy"] : ["strokeWidth", "size", "x2Offset"])
    if (typeof copy[key] === "number") copy[key] *= by;
  return copy;
};

const merged = (one, other) => {
  const both = { ...one };
  for (const key in other)
    both[key] = typeof one[key] === "object" && one[key] && !Array.isArray(one[key]) ? merged(one[key], other[key]) : other[key];
  return both;
};

class Chart {
  constructor(element, live) {
    this.element = element;
    this.live = live;
    this.canvas = element.appendChild(document.createElement("div"));
    const menu = element.appendChild(document.createElement("details"));
    menu.className = "save";
    menu.innerHTML = '<summary title="Save this chart" aria-label="Save this chart">⤓</summary>';
    for (const kind of ["PNG", "SVG", "CSV"]) {
      const button = menu.appendChild(document.createElement("button"));
      button.textContent = kind;
      button.onclick = () => (menu.open = false, this.save(kind));
    }
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(element);
  }
  resize() {
    const width = this.element.clientWidth;
    const height = this.live.height(this.spec);
    if (!this.view || !width || (width === this.width && height === this.height)) return;
    this.width = width;
    this.height = height;
    this.view.width(width).height(height).resize().runAsync();
  }
  // Embeds anew when the specification is another one; else the marks change in place.
  async show({ spec: key, data }, spec, theme, file) {
    // A chart that is laid out without data knows nothing of its axes: once there are some it is laid out anew.
    for (const name in data) key += data[name].length ? name : "";
    const empty = !Object.keys(data).some((name) => name !== "span" && data[name].length);  // an axis is no data
    const stays = empty && this.empty;
    this.empty = empty;
    this.element.classList.toggle("empty", empty);
    const font = this.live.font();
    key += font;
    this.spec = spec;
    this.data = data;
    if (this.key !== key || this.theme !== theme) {
      this.key = key;
      this.theme = theme;
      const { embed, expressionInterpreter } = await loadVega(file);
      this.width = this.element.clientWidth;
      this.height = this.live.height(spec);
      const config = merged(merged(JSON.parse(theme), spec.config ?? {}), sizes(font));
      if (empty) Object.assign(config.axis, { labels: false, ticks: false, grid: false });  // they would be of nothing
      const whole = { ...scaled(spec, font / BASE), width: this.width || 600, height: this.height, datasets: data, config,
        autosize: { type: "fit", contains: "padding", resize: true } };
      this.view?.finalize();
      this.view = undefined;
      const made = await embed(this.canvas, whole, { ...(COMPILES ? {} : { ast: true, expr: expressionInterpreter }), actions: false,
        tooltip: false, renderer: "canvas" });
      if (this.key === key && this.theme === theme) this.view = made.view;
      else made.view.finalize();
      return;
    }
    if (!this.view || stays) return;
    for (const name in data) this.view.data(name, data[name]);
    await this.view.runAsync();
  }
  // With the settings, so that one knows a year later what it shows.
  async save(kind) {
    if (!this.view) return;
    const style = getComputedStyle(this.element);
    const ground = style.getPropertyValue("--st-background-color").trim() || "#fff";
    if (kind === "CSV") return this.download(new Blob([this.table()], { type: "text/csv" }), kind);
    if (kind === "SVG") {
      const told = `<title>${escape(this.live.settings)}</title><rect width="100%" height="100%" fill="${ground}"/>`;
      const svg = (await this.view.toSVG()).replace(/(<svg[^>]*>)/, `$1${told}`);
      return this.download(new Blob([svg], { type: "image/svg+xml" }), kind);
    }
    const chart = await this.view.toCanvas(2);
    const picture = document.createElement("canvas");
    picture.width = chart.width;
    picture.height = chart.height + 44;
    const pen = picture.getContext("2d");
    pen.fillStyle = ground;
    pen.fillRect(0, 0, picture.width, picture.height);
    pen.drawImage(chart, 0, 0);
    pen.fillStyle = style.color;
    pen.font = "22px sans-serif";
    pen.fillText(this.live.settings, 12, picture.height - 14, picture.width - 24);
    picture.toBlob((blob) => this.download(blob, kind));
  }
  // What is drawn: a row for each, behind the name of its part of the chart.
  table() {
    const parts = Object.entries(this.data).filter(([, rows]) => rows.length);
    const columns = [...new Set(parts.flatMap(([, rows]) => Object.keys(rows[0])))];
    const cell = (value) => (value == null ? "" : /[",\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : value);
    const rows = parts.flatMap(([name, rows]) => rows.map((row) => [name, ...columns.map((column) => cell(row[column]))]));
    return [["part", ...columns], ...rows].map((row) => row.join(",")).join("\n");
  }
  download(blob, kind) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.live.settings.replace(/[^\w.]+/g, "-").slice(0, 150)}.${kind.toLowerCase()}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
  close() {
    this.resized.disconnect();
    this.view?.finalize();
  }
}

class Live {
  constructor(parent) {
    this.resized = () => this.charts.forEach((chart) => chart?.resize());
    addEventListener("resize", this.resized);
    this.opened = new ResizeObserver(this.resized);  // a panel that opens takes room
    this.opened.observe(parent.closest(".stMainBlockContainer") ?? parent);
    parent.innerHTML = '<div class="live"><div class="numbers"></div><div class="items"></div><div class="notes"></div></div>';
    this.root = parent.firstChild;
    [this.numbers, this.items, this.notes] = this.root.children;
    this.charts = [];
    this.kinds = "";
    this.failures = 0;
  }
  open(data, fail) {
    const { look } = this;
    this.theme = JSON.stringify(themed(this.root));
    this.file = data.vega;
    this.fills = data.fills;
    this.presenting = data.presenting;
    this.settings = data.settings;
    this.fail = fail;
    this.look = [this.theme, this.file, this.fills, this.presenting].join();
    if (this.token === data.token) {
      if (look !== this.look) this.due();
      return;
    }
    this.token = data.token;
    if (this.fills && !this.frame) this.items.style.minHeight = `${this.height()}px`;  // what follows does not jump
    this.connect();
  }
  // Type for the back row: a 45th of the screen's height while presenting, less where a chart is narrow.
  font() {
    const narrowest = Math.min(innerWidth, ...this.charts.map((chart) => chart?.element.clientWidth || innerWidth));
    const size = this.presenting ? innerHeight / 45 : Math.min(innerHeight / 58, narrowest / 17);  // a title's length
    return (this.root.dataset.font = Math.round(Math.max(12, size)));
  }
  // On the stage all charts stand in one row, where each has room, and words below them.
  stands() {
    return this.fills && this.root.clientWidth / this.charts.filter(Boolean).length >= 250;
  }
  // Charts on the stage take what is left of the first screen, and share it with a panel that is open. Where they stand
  // below each other, the first does.
  height(spec) {
    if (!this.fills) return spec.height;
    const main = document.querySelector("[data-testid=stMain]");
    const top = this.items.getBoundingClientRect().top + (main?.scrollTop ?? 0) - (main?.getBoundingClientRect().top ?? 0);
    const stacked = this.items.children.length > 1 && !this.stands();
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    // Below are the names of the panels, and what was compiled; while presenting, only what has to be said.
    const below = this.presenting ? 4.6 * rem + this.notes.offsetHeight : (stacked ? 0.5 : 7.2) * rem;
    const words = stacked ? 0 : [...this.items.querySelectorAll(":scope > .text")].reduce((sum, row) => sum + row.offsetHeight, 0);
    const left = Math.floor(innerHeight - top - below - words);
    if (stacked) return Math.max(190, Math.min(left, 0.8 * this.items.clientWidth));
    return Math.max(190, document.querySelector(".st-key-panel") ? Math.min(left, Math.floor(0.38 * innerHeight)) : left);
  }
  connect() {
    this.socket?.close();
    const token = this.token;
    const url = new URL(`live/${token}`, base());
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.failures = 0;
      this.came = true;
      if (typeof data === "string") {
        const { key, spec } = JSON.parse(data);
        SPECS.set(key, spec);
      } else this.newest = data;
      this.due();
    };
    socket.onclose = () => {
      if (this.socket !== socket || this.closed) return;
      // A cut mends itself, however long it lasts. Where no frame has ever come through, the app draws by itself instead.
      this.failures += 1;
      const wait_ms = Math.min(400 * 2 ** this.failures, LONGEST_WAIT_MS);
      if (this.failures >= 4 && !this.came) this.fail();
      else setTimeout(() => this.socket === socket && !this.closed && this.connect(), wait_ms);
    };
  }
  // A browser that is slow misses frames: it draws the newest, and has as long for what is pressed as drawing took.
  due() {
    this.asked = true;
    if (this.drawing || this.timer) return;
    this.timer = setTimeout(() => this.draw(), Math.max(0, (this.free ?? 0) - performance.now()));
  }
  async draw() {
    const begun = performance.now();
    this.timer = undefined;
    this.asked = false;
    this.drawing = true;
    try {
      if (this.newest) this.frame = decode(this.newest);
      this.newest = undefined;
      if (this.frame && !this.closed) await this.drawFrame(this.frame);
    } finally {
      const now = performance.now();
      this.free = now + Math.min(now - begun, LONGEST_REST_MS);
      this.drawing = false;
      if (this.asked) this.due();
    }
  }
  async drawFrame({ stats, items, notes, hint }) {
    const missing = items.filter(({ spec }) => spec && !SPECS.has(spec));
    this.put(this.numbers, stats);
    this.put(this.notes, notes.map(note).join(""));
    for (const { spec } of missing) this.socket.send(spec);
    if (missing.length) return;
    this.arrange(items);
    this.items.style.setProperty("--hint", JSON.stringify(hint));
    this.items.classList.toggle("stands", this.stands());
    items.forEach((item, i) => item.spec || this.put(this.items.children[i], note(item)));  // charts leave them room
    await Promise.all(items.map((item, i) =>
      item.spec && this.charts[i].show(item, SPECS.get(item.spec), this.theme, this.file)));
    this.items.style.minHeight = "";
    this.root.dataset.frames = 1 + Number(this.root.dataset.frames ?? 0);
  }
  put(element, html) {
    if (element.shown !== html) element.innerHTML = element.shown = html;
  }
  // A place for each item; charts keep theirs as long as the order of charts and texts is the same.
  arrange(items) {
    const kinds = JSON.stringify(items.map(({ spec, width }) => (spec ? width : 0)));
    if (kinds === this.kinds) {
      items.forEach(({ alt }, i) => alt && this.items.children[i].setAttribute("aria-label", alt));
      return;
    }
    this.kinds = kinds;
    this.charts.forEach((chart) => chart?.close());
    this.items.replaceChildren(...items.map(({ spec, width, alt }) => {
      const place = document.createElement("div");
      place.className = spec ? "chart" : "text";
      if (spec) {
        place.style.setProperty("--share", width);
        place.setAttribute("role", "img");
        place.setAttribute("aria-label", alt);
      }
      return place;
    }));
    this.charts = items.map(({ spec }, i) => spec && new Chart(this.items.children[i], this));
  }
  close() {
    this.closed = true;
    removeEventListener("resize", this.resized);
    this.opened.disconnect();
    this.socket?.close();
    this.charts.forEach((chart) => chart?.close());
  }
}

function note({ body, kind }) {
  if (kind === "code") return `<pre>${escape(body)}</pre>`;
  if (kind === "folded") {
    const [head, ...lines] = body.split("\n");
    return `<details><summary>${marked(head)}</summary>${lines.map((line) => `<p>${marked(line)}</p>`).join("")}</details>`;
  }
  return `<div class="${kind}">${marked(body)}</div>`;
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let live = PARTS.get(parentElement);
  if (!live) PARTS.set(parentElement, (live = new Live(parentElement)));
  live.open(data, () => setTriggerValue("failed", true));
  return () => {
    live.close();
    PARTS.delete(parentElement);
  };
}
