"""Streamlit: a page that ends white. Start with `streamlit run overlap.py` and press "Other page" a few times.

A full run and a timer's rerun of one of its fragments overlap:

1. The fragment ticks on the first page. The press asks for a full run of the second page; a tick that the browser sends
   before it hears of that run waits until it is over.
2. The second page draws the same function at the same place: the fragment has the same id, so the tick finds it.
3. When the fragment's rerun starts, `ForwardMsgQueue.clear` drops this fragment's deltas of the full run from the queue,
   its container among them, and keeps those of the elements below it. Nothing of these has been sent so far.
4. The browser, whose tree of the second page is still empty, gets the element below first: "Bad delta path index 1
   (should be between [0, 0])", and React takes the whole page away.
"""

import time

import streamlit as st


@st.fragment(run_every=0.01)
def ticking() -> None:
    st.text("fragment")


def page() -> None:
    sum(range(10**7))  # holds the lock of Python, as a computation may: ticks of the page before wait to be read
    ticking()
    st.text("below")


def first() -> None:
    page()


def second() -> None:
    page()


st.navigation([st.Page(first), st.Page(second)]).run()
