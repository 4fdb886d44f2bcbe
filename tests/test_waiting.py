"""`lib/ui/waiting.py`: a script waits for what is on its way, in the places where it belongs."""

from streamlit.testing.v1 import AppTest


def slow_answers():
    import time
    from concurrent.futures import ThreadPoolExecutor

    import streamlit as st

    from lib.ui import waiting

    pool = st.cache_resource(ThreadPoolExecutor)()

    def after(seconds, value):
        def work():
            time.sleep(seconds)
            return value

        return pool.submit(work)

    waiting.begin()
    st.markdown("first")
    waiting.answer(after(0.5, "late"), lambda text: st.text_input("Text", text, key="text"))
    waiting.answer(after(0.3, "sooner"), st.markdown)
    waiting.answer(after(0.0, "at once"), st.markdown)
    st.markdown("last")
    waiting.finish()


def test_answers_come_to_their_places_however_late_they_are():
    app = AppTest.from_function(slow_answers, default_timeout=20).run()
    assert [text.value for text in app.markdown] == ["first", "sooner", "at once", "last"]
    assert app.text_input[0].value == "late" and not app.caption


def test_a_widget_that_is_drawn_late_keeps_its_value():
    app = AppTest.from_function(slow_answers, default_timeout=20).run()
    app.text_input[0].set_value("mine").run()
    assert app.text_input[0].value == "mine"


def nested():
    import streamlit as st

    from lib.ui import waiting

    waiting.begin()
    left = iter(range(5))

    def look():
        count = next(left)
        return waiting.Look(count, count == 3)

    def draw(count):
        st.markdown(f"count {count}")
        if count == 3:
            waiting.watch(lambda: waiting.Look("inner", True), st.markdown)

    waiting.watch(look, draw)
    waiting.finish()


def test_what_is_drawn_may_have_places_of_its_own_and_only_the_last_state_stays():
    app = AppTest.from_function(nested, default_timeout=20).run()
    assert [text.value for text in app.markdown] == ["count 3", "inner"]


def result_before_the_rest():
    import time
    from concurrent.futures import ThreadPoolExecutor

    import streamlit as st

    from lib.ui import waiting

    waiting.begin()
    pool = st.cache_resource(ThreadPoolExecutor)()
    value = waiting.result(pool.submit(lambda: time.sleep(0.3) or 7))
    st.markdown(f"it is {value}")
    waiting.finish()


def test_a_result_that_decides_how_the_page_goes_on_is_waited_for():
    app = AppTest.from_function(result_before_the_rest, default_timeout=20).run()
    assert [text.value for text in app.markdown] == ["it is 7"] and not app.caption


def failing():
    from concurrent.futures import Future

    import streamlit as st

    from lib.ui import waiting

    waiting.begin()
    future = Future()
    future.set_exception(ValueError("what went wrong"))
    waiting.answer(future, st.markdown)
    waiting.finish()


def test_what_a_computation_raises_is_raised_on_the_page():
    app = AppTest.from_function(failing, default_timeout=20).run()
    assert app.exception[0].message == "what went wrong"
