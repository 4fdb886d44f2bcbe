"""Streamlit: a page that ends white. Start with `streamlit run overlap.py` and change between its two pages.

A full run and a timer's rerun of one of its fragments overlap, at some one of fifty changes:

1. The fragment ticks on the first page. A link asks for a full run of the second page; a tick that the browser sends
   before it hears of that run waits until it is over.
2. The second page draws the same function at the same place: the fragment has the same id, so the tick finds it.
3. When the fragment's rerun starts, `ForwardMsgQueue.clear` takes this fragment's deltas of the full run out of the
   queue, its container among them, and keeps those of the elements below. The browser has had none of these.
4. The browser, whose tree of the second page is still empty, gets the element below first: "Bad delta path index 1
   (should be between [0, 0])", and React takes the whole page away.

A click on a widget does the same where it interrupts the first run of a page. With `postScriptGC` on, the pause after
the full run lets the queue go to the browser in time more often.
"""

import streamlit as st


@st.fragment(run_every=0.004)
def ticking() -> None:
    st.text("fragment")


def page() -> None:
    ticking()
    st.text("below")


def first() -> None:
    page()


def second() -> None:
    page()


st.navigation([st.Page(first), st.Page(second)]).run()
