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
    if (innerWidth < 768 && event.target.closest?.("[data-testid=stSidebarNavLink]"))
      setTimeout(() => press("[data-testid=stSidebarCollapseButton] button"), 50);
  });
}
