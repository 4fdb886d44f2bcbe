// What the frame does in the browser: a lesson opens at its top, a phone's sidebar closes, and keys while presenting.

const frame = (window.__frame ??= { page: null, presenting: false, listens: false });

const main = () => document.querySelector("[data-testid=stMain]");
const press = (selector) => {
  const element = document.querySelector(selector);
  element?.click();
  return Boolean(element);
};

// The page grows while it is filled, and the browser may hold on to where the page before was scrolled to.
function atTop(page) {
  if (frame.page === page) return;
  frame.page = page;
  let left = false;
  const leave = () => (left = true);
  for (const kind of ["wheel", "touchmove", "keydown", "mousedown"]) addEventListener(kind, leave, { once: true });
  for (const wait of [0, 60, 200, 500, 1000]) setTimeout(() => !left && frame.page === page && main()?.scrollTo(0, 0), wait);
}

function panel(direction) {
  const options = [...document.querySelectorAll(".st-key-panels [data-testid=stButtonGroup] button")];
  if (!options.length) return false;
  const open = options.findIndex((option) => option.ariaChecked === "true");
  const next = open + direction;
  if (open < 0 && direction < 0) return false;
  (options[next] ?? (direction < 0 ? options[open] : undefined))?.click();  // before the first: closes it
  return true;
}

const running = () => /running|compiling/.test(document.querySelector(".stats .value")?.textContent ?? "");
const button = (name) => press(`.st-key-stage_buttons [class*=_${name}] button`);
const KEYS = {
  " ": () => button(running() ? "pause" : "run"),
  s: () => button("step"),
  r: () => button("reset"),
  b: () => button("go_back"),
  ArrowRight: () => press(".st-key-lesson_forward a"),
  ArrowLeft: () => press(".st-key-lesson_back a"),
  ArrowDown: () => panel(1),
  ArrowUp: () => panel(-1),
};
const TYPING = "input, textarea, select, [contenteditable=true], [role=slider], [role=listbox], [role=combobox]";

// The charts of the panel that is open, each as a file with what was measured and when below it.
function save(kind) {
  const said = [...document.querySelectorAll(".st-key-panel [data-testid=stCaptionContainer]")]
    .map((caption) => caption.textContent).find((text) => text.startsWith("Taken at")) ?? "";
  document.querySelectorAll(".st-key-panel .stVegaLiteChart > svg").forEach((shown, i) => {
    const chart = shown.cloneNode(true);
    const [width, height] = [shown.width.baseVal.value, shown.height.baseVal.value + 24];
    const texts = [...chart.querySelectorAll("text")];  // as wide as here, whatever fonts there are where it is looked at
    shown.querySelectorAll("text").forEach((text, j) => texts[j].setAttribute("textLength", text.getComputedTextLength()));
    const words = document.createElementNS(chart.namespaceURI, "text");
    Object.entries({ x: 8, y: height - 8, "font-size": 12, "font-family": "sans-serif", textLength: width - 16,
      fill: getComputedStyle(main()).color }).forEach(([name, value]) => words.setAttribute(name, value));
    words.textContent = said;
    if (6.2 * said.length < width) words.removeAttribute("textLength");
    chart.append(words);
    chart.setAttribute("height", height);
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    chart.style.background = getComputedStyle(document.querySelector(".stApp")).backgroundColor;
    const blob = new Blob([new XMLSerializer().serializeToString(chart)], { type: "image/svg+xml" });
    const name = `${location.pathname.split("/").pop() || "chart"}-${i + 1}.${kind}`;
    if (kind === "svg") return download(blob, name);
    const picture = Object.assign(document.createElement("canvas"), { width: 2 * width, height: 2 * height });
    const drawn = new Image();
    drawn.onload = () => {
      picture.getContext("2d").drawImage(drawn, 0, 0, 2 * width, 2 * height);
      URL.revokeObjectURL(drawn.src);
      picture.toBlob((png) => download(png, name));
    };
    drawn.src = URL.createObjectURL(blob);
  });
}
function download(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function presenting(on) {
  frame.presenting = on;
  if (frame.listens) return;
  frame.listens = true;
  addEventListener("keydown", (event) => {
    if (!frame.presenting || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPING)) return;
    if (document.querySelector(".room-over:not([hidden]), .follows")) return;  // a question is over the run, or another's it is
    if (KEYS[event.key]?.()) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const kind = event.target.dataset?.save;
    if (kind) save(kind);
    if (innerWidth < 768 && event.target.closest?.("[data-testid=stSidebarNavLink]"))
      setTimeout(() => press("[data-testid=stSidebarCollapseButton] button"), 50);
  });
}
