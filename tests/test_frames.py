"""`lib/ui/frames.py`: what is decoded of a frame is what was shown, and no larger than it has to be."""

import json

import numpy as np
import pyarrow as pa

from lib.ui import charts, frames


def decode(body):
    """As `live.js` does it."""
    length = int.from_bytes(body[:4], "little")
    header = json.loads(body[4 : 4 + length])
    start = 4 + length
    assert start % 8 == 0

    def column(place):
        dtype, at, count, *words = place
        if dtype == "json":
            return at
        values = np.frombuffer(body, dtype, count, start + at)
        return [words[0][code] for code in values] if words else values.tolist()

    for item in header["items"]:
        for table in item.get("data", {}).values():
            for name, place in table.items():
                table[name] = column(place)
    return header


def frame(*shown, **stats):
    return frames.LiveFrame(stats, shown, [charts.Text("`f` is **1**")])


def test_numbers_words_and_holes_come_through():
    table = {
        "f4": np.array([1.5, np.nan, -2], np.float32), "f8": np.array([0.1, 2, 3]), "u1": np.array([0, 255, 7], np.uint8),
        "i8": np.array([1, 2, 3]), "word": charts.words(["a", "b", "a"]), "text": ["x", "<y>", "z"],
        "hole": pa.array(np.array([1, 2, 3], np.uint8), mask=np.array([False, True, False])),
    }  # fmt: skip
    body = frames.encode(frame(charts.chart({"mark": "line"}, "a chart", 0.5, rows=table), charts.Text("said", "code")))
    header = decode(body)
    chart, text = header["items"]
    rows = chart["data"]["rows"]
    assert (chart["alt"], chart["width"], text) == ("a chart", 0.5, {"body": "said", "kind": "code"})
    np.testing.assert_array_equal(rows["f4"], table["f4"])
    np.testing.assert_allclose(rows["f8"], table["f8"], rtol=1e-7)
    assert rows["u1"] == [0, 255, 7] and rows["i8"] == [1, 2, 3]
    assert rows["word"] == ["a", "b", "a"] and rows["text"] == ["x", "<y>", "z"]
    np.testing.assert_array_equal(rows["hole"], [1, np.nan, 3])


def test_what_is_shown_as_a_number_is_text():
    header = decode(frames.encode(frame(Loss="<b>1</b>")))
    assert "&lt;b&gt;1" in header["stats"] and "<b>" not in header["stats"]


def test_a_specification_has_one_key_and_is_had_by_it():
    one, twin, other = {"mark": "line"}, {"mark": "line"}, {"mark": "bar"}
    assert frames.spec_key(one) == frames.spec_key(twin) != frames.spec_key(other)
    said = json.loads(frames.spec_of(frames.spec_key(one)))
    assert said == {"key": frames.spec_key(one), "spec": one}
    assert frames.spec_of("nobody's") is None


def test_many_specifications_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(frames, "MAX_SPECS", 8)
    first = {"mark": "point", "number": -1}
    key = frames.spec_key(first)
    for number in range(20):
        frames.spec_key({"mark": "point", "number": number})
    assert frames.spec_of(key) is None
    assert frames.spec_key(first) == key and frames.spec_of(key) is not None


def test_the_same_frame_has_the_same_bytes():
    def body():
        return frames.encode(frame(charts.chart({"mark": "line"}, "", rows={"x": np.arange(5.0)}), Step="1"))

    assert body() == body()
