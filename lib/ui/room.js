// A room in the browser: the lecturer's bar and his questions, the bar of those who follow, the vote.

const PARTS = new WeakMap();

const base = () => new URL("../../", document.querySelector('script[src*="static/js/index"]').src);
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const marked = (text) => escape(text).replace(/`([^`]+)`/g, "<code>$1</code>");
const button = (does, text, more = "") => `<button data-do="${does}" ${more}>${text}</button>`;
const people = (n) => (n === 1 ? "1 follows" : `${n} follow`);
const MAX_CHOICES = 6;

// Tells this browser from others, and says nothing about who sits at it.
function voter() {
  try {
    return (localStorage.roomVoter ??= crypto.getRandomValues(new Uint32Array(4)).join("-").slice(0, 40));
  } catch {
    return (voter.name ??= `${Math.random()}${Math.random()}`.slice(0, 40));
  }
}

class RoomPart {
  constructor(parent) {
    this.root = parent.appendChild(document.createElement("div"));
    this.root.className = "room";
    this.root.innerHTML = '<div class="room-bar" hidden></div><div class="room-over" hidden></div>';
    [this.bar, this.over] = this.root.children;
    this.root.addEventListener("click", (event) => this.press(event));
    this.root.addEventListener("submit", (event) => this.submit(event));
    this.view = "";
    this.failures = 0;
  }

  open(data, trigger) {
    this.data = data;
    this.trigger = trigger;
    document.body.classList.toggle("follows", data.role === "student");
    if (data.role === "desk") {
      this.gone = data.gone;
      // What was pressed while Streamlit's own connection was down has not arrived.
      if (data.gone && this.wanted) trigger(this.wanted, true);
      this.wanted = undefined;
      if (!data.gone && this.secret !== data.secret) {
        this.secret = data.secret;
        if (this.remember("roomShown") !== data.code) this.view = "code";
        this.remember("roomShown", data.code);
        this.connect();
      } else if (!data.gone && !this.socket) this.connect();
    } else this.state = data;
    if (data.role === "door") return void location.replace(this.lecture(data.code));
    this.draw();
  }

  lecture(code) {
    return new URL(`lecture?room=${encodeURIComponent(code)}`, base()).href;
  }

  connect() {
    const url = new URL(`teach/${encodeURIComponent(this.data.secret)}`, base());
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    socket.onmessage = ({ data }) => {
      this.failures = 0;
      const said = JSON.parse(data);
      if (said.error) this.error = said.error;
      else {
        if (said.ballot && said.ballot.number !== this.state?.ballot?.number) this.view = "";
        this.state = said;
        if (!said.ballot || this.view !== "form") this.error = "";
      }
      this.draw();
    };
    socket.onclose = ({ code }) => {
      if (this.socket !== socket || this.closed) return;
      this.socket = undefined;
      this.gone = code === 4404;
      this.draw();
      if (!this.gone) setTimeout(() => !this.socket && !this.closed && this.connect(), 400 * 2 ** Math.min(5, this.failures++));
    };
  }

  say(command) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(command));
  }

  // What is drawn.

  put(element, html) {
    element.hidden = !html;
    if (element.shown !== html) element.innerHTML = element.shown = html;
  }

  draw() {
    const { role } = this.data;
    this.root.dataset.role = role;
    if (role === "desk") this.drawDesk();
    else if (role === "left") this.put(this.bar,
      `<a class="main" href="${escape(this.lecture(this.data.code))}" target="_self">Back to the lecture ${escape(this.data.code)}</a>
       ${button("stay", "✕", 'aria-label="Forget the lecture" title="Forget the lecture"')}`);
    else this.drawStudent();
  }

  drawDesk() {
    const code = `<b>${escape(this.data.code)}</b>`;
    if (this.gone) {
      this.put(this.over, "");
      return this.put(this.bar, `<span>The room ${code} is gone: the server was started anew, or you were away for an hour.</span>
        ${button("opened", "Open it again", 'class="main"')} ${button("ended", "Leave it")}`);
    }
    const state = this.state ?? { followers: 0, offers: [] };
    this.put(this.bar, `<span>Room ${code}</span><span class="room-people">${people(state.followers)}</span>
      ${button("code", "Code")} ${button("form", "Ask")} ${button("end", "End")}`);
    if (this.view === "code") this.put(this.over, this.card(`
      <p class="room-code">${escape(this.data.code)}</p><div class="room-qr">${this.data.qr}</div>
      <p class="room-link">${escape(this.data.link)}</p>
      ${/\/\/(localhost|127\.|\[::1)/.test(this.data.link) ? "<p>This address is this machine's alone. Open the page by the name that others reach it by.</p>" : ""}
      <p>No account, no name, nothing kept. ${people(state.followers)}. One vote a browser: a second browser is a second voter.</p>
      ${button("hide", "Close", 'class="main"')}`));
    else if (this.view === "form") this.drawForm(state);
    else if (this.view === "end") this.put(this.over, this.card(`<p>End the lecture for everybody?</p>
      <div class="room-actions">${button("ended", "End it", 'class="main"')} ${button("hide", "Go on")}</div>`));
    else if (state.ballot) this.put(this.over, this.card(this.ballot(state.ballot) + this.actions(state)));
    else this.put(this.over, "");
  }

  // Kept while one types in it.
  drawForm(state) {
    const offers = state.offers.map((text, i) => button("offer", marked(text), `data-number="${i}" class="room-offer"`)).join("");
    const key = `form ${offers}`;
    if (this.over.shown !== key) {
      this.over.hidden = false;
      const choices = Array.from({ length: MAX_CHOICES }, (_, i) =>
        `<input name="choice" maxlength="120" aria-label="Choice ${i + 1}" placeholder="choice ${i + 1}${i > 1 ? ", if any" : ""}">`);
      this.over.innerHTML = this.card(`${offers ? `<h2>Of this page</h2>${offers}<h2>Or your own</h2>` : "<h2>Ask the room</h2>"}
        <form><textarea name="question" maxlength="400" rows="2" placeholder="Question" aria-label="Question"></textarea>
        <div class="room-inputs">${choices.join("")}</div><p class="room-error" role="alert"></p>
        <div class="room-actions"><button class="main" type="submit">Put it to the room</button> ${button("hide", "Cancel", 'type="button"')}</div></form>`);
      this.over.shown = key;
    }
    this.over.querySelector(".room-error").textContent = this.error ?? "";
  }

  card = (html) => `<div class="room-card" role="dialog" aria-modal="true">${html}</div>`;

  ballot(ballot) {
    const rounds = ballot.rounds;
    const totals = rounds.map((counts) => Math.max(1, counts.reduce((sum, count) => sum + count, 0)));
    const rows = ballot.choices.map((choice, i) => {
      const bars = rounds.map((counts, r) => `<div class="room-row" data-round="${r + 1}">
        <div class="room-track"><div style="width:${(100 * counts[i]) / totals[r]}%"></div></div>
        <span>${Math.round((100 * counts[i]) / totals[r])} % <small>(${counts[i]})</small></span></div>`);
      return `<li ${ballot.truth === i ? 'class="true"' : ""}><p>${ballot.truth === i ? "✓ " : ""}${marked(choice)}</p>${bars.join("")}</li>`;
    });
    const legend = rounds.length > 1 ? '<p class="room-legend"><i data-round="1"></i> first round <i data-round="2"></i> after the discussion</p>' : "";
    const words = ballot.runs ? `<p class="room-truth">${ballot.words ? marked(ballot.words) : "Running …"}</p>` : "";
    return `<h2>${marked(ballot.question)}</h2><ol class="room-choices">${rows.join("")}</ol>${legend}${words}`;
  }

  actions(state) {
    const { ballot } = state;
    const counted = ballot.open ? `<p class="room-count"><b>${state.answered}</b> of ${state.followers} have answered${ballot.round > 1 ? ", second round" : ""}</p>` : "";
    const hint = state.suggests ? '<p class="room-hint">Between 35 and 70 % are right: let neighbours explain their answers to each other, then vote again.</p>' : "";
    return `${counted}${hint}<div class="room-actions">
      ${ballot.open ? button("reveal", "Reveal", 'class="main"') : ""}
      ${state.again ? button("again", "Vote again", state.suggests ? 'class="main"' : "") : ""}
      ${state.run ? button("run", "Run", 'class="main"') : ""} ${button("done", "Close")}</div>`;
  }

  drawStudent() {
    const state = this.state;
    if (state.gone) {
      this.put(this.bar, "");
      const words = state.words || (state.code
        ? `There is no lecture ${state.code} now: it has ended, or the server was started anew. When it is there you are in it again.`
        : "Type the four letters that the lecturer shows.");
      if (this.over.shown !== words) {
        this.over.hidden = false;
        this.over.innerHTML = this.card(`<p>${escape(words)}</p><form data-door="1"><input name="code" maxlength="4" size="6"
          aria-label="Code" placeholder="code" autocapitalize="characters" autocomplete="off"><button class="main" type="submit">Join</button></form>
          <p><a href="${escape(base().href)}" target="_self">To the lessons</a></p>`);
        this.over.shown = words;
      }
      return;
    }
    this.put(this.bar, `<span>Lecture <b>${escape(state.code)}</b>${state.away ? ": the lecturer is away" : ""}</span>
      ${state.ballot && this.hidden === state.ballot.number ? button("vote", "Vote", 'class="main"') : ""} ${button("leave", "Try it yourself")}`);
    const { ballot } = state;
    if (!ballot || this.hidden === ballot.number) return this.put(this.over, "");
    const turn = `${state.code} ${ballot.number} ${ballot.round}`;
    if (this.turn !== turn) [this.turn, this.chosen, this.sent, this.error] = [turn, undefined, this.recall(turn), ""];
    if (!ballot.open) return this.put(this.over, this.card(`${this.ballot(ballot)}<div class="room-actions">${button("hide", "Back to the page")}</div>`));
    const chosen = this.chosen ?? this.sent;
    const choices = ballot.choices.map((choice, i) => `<li>${button("choose", marked(choice), `data-number="${i}" aria-pressed="${i === chosen}"`)}</li>`);
    const sent = this.sent !== undefined && chosen === this.sent;
    this.put(this.over, this.card(`<h2>${marked(ballot.question)}</h2>${ballot.round > 1 ? "<p>Second round</p>" : ""}
      <ol class="room-choices">${choices.join("")}</ol><p class="room-error" role="alert">${escape(this.error)}</p>
      <div class="room-actions">${button("answer", sent ? "Answered ✓" : "Answer", `class="main" ${chosen === undefined || sent ? "disabled" : ""}`)}
      ${button("hide", "Later")}</div><p><small>You can change it until it is revealed. Nobody sees who chose what.</small></p>`));
  }

  recall(turn) {
    const [known, choice] = this.remember("roomVote") ?? [];
    return known === turn ? choice : undefined;
  }

  // What this tab keeps over a reload, where the browser lets it.
  remember(key, value) {
    try {
      if (value !== undefined) sessionStorage[key] = JSON.stringify(value);
      return JSON.parse(sessionStorage[key] ?? "null");
    } catch {
      return null;
    }
  }

  // What is pressed.

  press(event) {
    const pressed = event.target.closest("[data-do]");
    if (!pressed) return;
    const { do: does, number } = pressed.dataset;
    if (["code", "form", "end"].includes(does)) this.view = this.view === does ? "" : does;
    else if (does === "hide") {
      if (this.data.role === "desk") this.view = "";
      else this.hidden = this.state.ballot?.number;
      this.error = "";
    } else if (does === "vote") this.hidden = undefined;
    else if (does === "choose") this.chosen = Number(number);
    else if (does === "answer") this.answer();
    else if (does === "leave") location.assign(this.own());
    else if (does === "offer") this.say({ do: "offer", number: Number(number) });
    else if (["reveal", "again", "run", "done"].includes(does)) this.say({ do: does });
    else {
      this.wanted = { opened: "opened", ended: "ended", stay: "stayed" }[does];
      this.trigger(this.wanted, true);
    }
    this.draw();
  }

  // The lecturer's page with his settings, in widgets of one's own.
  own() {
    const url = new URL(this.state.own, base());
    url.searchParams.set("left", this.state.code);
    return url.href;
  }

  submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    if (event.target.dataset.door) return void location.assign(this.lecture(form.get("code").trim().toUpperCase()));
    this.say({ do: "ask", question: form.get("question"), choices: form.getAll("choice") });
  }

  async answer() {
    const { code, ballot } = this.state;
    const [turn, choice] = [this.turn, this.chosen];
    if (choice === undefined) return;
    try {
      const response = await fetch(new URL("lecture/vote", base()), { method: "POST",
        body: JSON.stringify({ code, voter: voter(), ballot: ballot.number, round: ballot.round, choice }) });
      const said = await response.json();
      if (this.turn !== turn) return;
      this.error = said.error ?? "";
      if (!said.error) {
        this.sent = choice;
        this.remember("roomVote", [turn, choice]);
      }
    } catch {
      this.error = "It has not arrived: press Answer again.";
    }
    this.draw();
  }

  close() {
    this.closed = true;
    document.body.classList.remove("follows");
    this.socket?.close();
    this.root.remove();
  }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let part = PARTS.get(parentElement);
  if (!part) PARTS.set(parentElement, (part = new RoomPart(parentElement)));
  part.open(data, setTriggerValue);
  return () => {
    part.close();
    PARTS.delete(parentElement);
  };
}
