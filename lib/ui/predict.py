"""The panel Predict: a question, a guess, and what the program really does beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np
import streamlit as st

from lib.live.finding import Finding
from lib.measure.questions import Answer, Choice, Found, Guess, Number, Order, Question, described, grade
from lib.ui import charts, room_view, waiting
from lib.ui.controls import Controls
from lib.ui.settings import PAGE, ask, visitor
from lib.ui.style import TEST, TRAIN, literal

RUN, GUESS = "the run", "your guess"


class Prediction(NamedTuple):
    """A guess as it was when its question was checked, and what comes of it."""

    guess: Guess
    finding: Finding


def ready(questions: Sequence[Question], controls: Controls, **own: Any) -> Callable[[], None]:
    """What draws the panel. Whoever teaches has the same questions ready for the room.

    Args:
        own: the lesson's own settings, by the names that the questions have for them.
    """
    room_view.offer(questions, settings_of(controls, **own), controls.device)
    return lambda: panel(questions, controls, **own)


def panel(questions: Sequence[Question], controls: Controls, **own: Any) -> None:
    """One of a lesson's questions, under the settings of the page at this moment."""
    by_name = {question.name: question for question in questions}
    name = ask(
        "{}_question", "Question", list(by_name), part=PAGE.get(), default=questions[0].name, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    question, settings = by_name[name], settings_of(controls, **own)
    key = f"_prediction_{PAGE.get()}"
    with st.container(key="predict"):
        st.markdown(f"**{question.ask(settings)}**")
        guess = ask_guess(question, settings, f"guess_{PAGE.get()}_{questions.index(question)}")

        def check() -> None:
            finding = Finding(question, settings, controls.device, visitor())
            st.session_state.setdefault(key, {})[name] = Prediction(guess, finding)  # type: ignore[arg-type]

        st.button(
            "Check by running it",
            key="predict_check",
            icon=":material/play_circle:",
            on_click=check,
            disabled=guess is None,
        )
        checked: Prediction | None = st.session_state.get(key, {}).get(name)
        if checked is not None:
            _result(checked, settings)


def settings_of(controls: Controls, **own: Any) -> dict[str, Any]:
    """The settings that questions may depend on, by name."""
    return {
        "batch_size": controls.batch_size, "learning_rate": controls.learning_rate, "seed": controls.seed,
        "device": controls.device, **own,
    }  # fmt: skip


def ask_guess(question: Question, settings: Mapping[str, Any], key: str) -> Guess | None:
    """Asks for a guess, by the control of the question's kind; None until there is one.

    A guess stays while settings change, and while another panel is open.
    """
    answer, kept = question.answer, st.session_state.setdefault("_guesses", {})
    before = kept.get(key)
    if isinstance(answer, Number):
        values = answer.values
        kept[key] = st.select_slider(
            answer.unit,
            values,
            values[len(values) // 2] if before is None else before,
            format_func=_number(answer),
            key=key,
        )
        return kept[key]  # type: ignore[no-any-return]
    if isinstance(answer, Choice):
        by_text = {option.format(**settings): option for option in answer.options}
        texts = list(by_text)
        chosen = st.radio(
            "Your guess", texts, next((texts.index(text) for text in texts if by_text[text] == before), None),
            key=f"{key}_{texts}",  # with other texts it is another control, which begins with the same option
            label_visibility="collapsed", width="stretch",
        )  # fmt: skip
        kept[key] = by_text[chosen] if chosen else None
        return chosen  # type: ignore[no-any-return]
    kept[key] = st.pills(
        "Tap the fastest first", answer.items, selection_mode="multi", default=before, format_func=lambda item: f"`{item}`",
        key=key,
    )  # fmt: skip
    left = [item for item in answer.items if item not in kept[key]]
    order = (*kept[key], *(left if len(left) == 1 else ()))
    if order:
        st.caption("  \n".join(f"{place}. `{item}`" for place, item in enumerate(order, 1)))
    return order if len(order) == len(answer.items) else None


def _number(answer: Number) -> Any:
    return lambda value: f"{value:,g}" if isfinite(value) else f"above {answer.high:,g}, or NaN"


def _result(checked: Prediction, settings: Mapping[str, Any]) -> None:
    finding = checked.finding
    begun = time.monotonic()

    def look() -> waiting.Look:
        done = finding.done
        return waiting.Look(True if done else f"{time.monotonic() - begun:.0f}", done)

    def show(state: Any) -> None:
        found = finding.look()
        if finding.error:
            st.error(f"It could not be found out: {literal(finding.error)}")
        elif found is None:
            st.caption(f"{'measuring, in turns with the runs' if finding.measured else 'computing'} … {state} s")
        else:
            _show(checked, found, settings)

    waiting.watch(look, show, endless=finding.measured)


def _show(checked: Prediction, found: Found, settings: Mapping[str, Any]) -> None:
    finding, answer = checked.finding, checked.finding.question.answer
    guess, truth = told(checked.guess, answer), told(found.truth, answer)
    verdict = grade(checked.guess, found, answer)
    said = "" if isinstance(answer, Order) else f"You said {guess}, it is **{truth}**: "
    icon = ":material/check:" if verdict.right else ":material/close:"
    (st.success if verdict.right else st.warning)(f"{said}{verdict.words}. {found.why}", icon=icon)
    st.caption(literal(_about(finding, settings)))
    if found.curve:
        charts.show(_curve(float(checked.guess), found, answer.unit))  # type: ignore
    if found.records:
        of = {record.label: record for record in found.records}
        charts.show(charts.timings("Measured, in your order", [of[item] for item in checked.guess]))  # type: ignore


def _about(finding: Finding, settings: Mapping[str, Any]) -> str:
    """For which settings it was found out, and what has changed since."""
    now = finding.question.given(settings)
    changed = {name: value for name, value in now.items() if value != finding.given[name]}
    about = f"Run with {described(finding.given)}" if finding.given else "Run; it depends on no setting"
    return about + (f"; press again for {described(changed)}." if changed else ".")


def told(guess: Guess, answer: Answer) -> str:
    """A guess or a truth in words."""
    if isinstance(answer, Number):
        return f"{guess:,.3g}" if guess != inf else _number(answer)(inf)
    return str(guess)


def _curve(guess: float, found: Found, unit: str) -> charts.Chart:
    x = np.arange(len(found.curve), dtype=float)
    guessed = [charts.still(GUESS, x[[0, -1]], np.full(2, guess), log=True)] if isfinite(guess) else []
    return charts.lines(
        "The run, and your guess of its end", "step", unit, {RUN: TRAIN, GUESS: TEST},
        {RUN: (x, np.array(found.curve))}, log=True, height=260, still=guessed,
    )  # fmt: skip
