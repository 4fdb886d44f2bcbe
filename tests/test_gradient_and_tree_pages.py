"""What the page on pytrees shows, beyond what every page shows."""

import time

import pytest
from test_pages import TIMEOUT_S, open_page, pick, press, settle, show

from lib.lessons.pytrees import random_keys


def shown(app) -> str:
    return "\n".join(str(element.value) for element in [*app.markdown, *app.caption, *app.warning, *app.code])


def measured(app, key: str) -> str:
    settle(next(button for button in app.button if button.key == key).click().run())
    end = time.monotonic() + TIMEOUT_S
    while "Taken at" not in shown(app):
        assert time.monotonic() < end
        time.sleep(0.2)
        settle(app.run())
    return shown(app)


def test_a_part_of_the_tree_has_its_leaves_and_another_container_has_other_paths():
    app = show(open_page("pytrees"), "pytrees", "Tree")
    assert app.dataframe[0].value["path"].tolist() == [f"params[{i}]['{n}']" for i in (0, 1) for n in ("b", "w")]
    pick(app, "Part of the tree", "params[1]")
    assert app.dataframe[0].value["path"].tolist() == ["params[1]['b']", "params[1]['w']"]
    assert "2 leaves, 17 numbers, 68 B" in shown(app)
    app.session_state["container"] = "dataclasses"
    settle(app.run())
    assert app.dataframe[0].value["path"].tolist() == [f"params[{i}].{n}" for i in (0, 1) for n in ("w", "b")]


def test_the_tree_of_keys_grows_to_its_bound_and_starts_over():
    app = show(open_page("pytrees"), "pytrees", "Keys")
    press(app, "split")
    pick(app, "Key", "f")
    pick(app, "Number to fold in", 9)
    press(app, "fold_in")
    assert "e, f = jax.random.split(a)\ng = jax.random.fold_in(f, 9)" in shown(app)
    for _ in range(9):
        press(app, "split")
    assert "The tree is full" in shown(app) and "v, w = jax.random.split(f)" in shown(app)
    pick(app, "Key", "w")
    press(app, "Start over")
    assert "e, f = " not in shown(app) and "d = jax.random.fold_in(c, 7)" in shown(app)


def test_keys_are_pressed_faster_than_the_page_is_drawn():
    app = show(open_page("pytrees"), "pytrees", "Keys")
    for key, label in (("a", "split"), ("d", "split"), ("d", "Start over")):
        pick(app, "Key", key)
        del app.session_state["_key_tree"]  # as Start over has left it a moment ago
        press(app, label)
        assert not app.exception and "d = jax.random.fold_in(c, 7)" in shown(app)


def test_a_key_that_is_gone_has_no_children():
    assert random_keys.grown(random_keys.FIRST_TREE, 4, "split", 0) == random_keys.FIRST_TREE
    assert len(random_keys.grown(random_keys.FIRST_TREE, 3, "split", 0)) == 5


def test_the_checker_refuses_one_way_on_the_page():
    app = show(open_page("pytrees"), "pytrees", "One key")
    settle(next(toggle for toggle in app.toggle if toggle.key == "check_reuse").set_value(True).run())
    assert "KeyReuseError" in shown(app) and "Two steps taken" in shown(app)


@pytest.mark.parametrize("stem", ["pytrees"])
def test_every_mistake_shows_its_error_and_its_explanation(stem: str):
    app = show(open_page(stem), stem, "Break it")
    for mistake in next(box for box in app.selectbox if box.label == "Mistake").options:
        pick(app, "Mistake", mistake)
        press(app, "Break it")
        settle(app)
        assert "in JAX's own words" in shown(app) or "It gives" in shown(app)
        assert app.info


@pytest.mark.parametrize(
    ("stem", "key", "words"),
    [
        ("pytrees", "updates_measure", "`tree.map` takes"),
    ],
)
def test_a_measurement_ends_in_words(stem: str, key: str, words: str, own_measurements):
    assert words in measured(show(open_page(stem), stem, "Timings"), key)
