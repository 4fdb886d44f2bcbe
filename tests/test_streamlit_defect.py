"""Defects of Streamlit's that the app works around. When Streamlit mends one that says "still", this fails."""

import threading
from importlib.metadata import version

import pytest
from streamlit import config
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_cache import populate_hash_if_needed
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.safe_session_state import SafeSessionState

from lib.ui import session_lock

TICKING = "the fragment that ticks"


def delta(*path: int, fragment: str = "", text: str = "") -> ForwardMsg:
    """What the script sends for a block, or for an element with a text, at a place of the page."""
    message = ForwardMsg()
    message.metadata.delta_path.extend(path)
    message.delta.fragment_id = fragment
    if text:
        message.delta.new_element.text.body = text
    else:
        message.delta.add_block.vertical.SetInParent()
    return message


def send(queue: ForwardMsgQueue, *messages: ForwardMsg) -> None:
    for message in messages:
        queue.enqueue(message)


def children_of_the_page(messages: list[ForwardMsg]) -> int:
    """How many children the page has once a browser that shows nothing yet has taken the messages, one by one.

    Raises:
        IndexError: an element comes before the one above it. Streamlit's client throws the same.
    """
    children = 0
    for message in messages:
        if message.HasField("delta") and len(path := message.metadata.delta_path) == 2:
            if path[1] > children:
                raise IndexError(f"Bad delta path index {path[1]} (should be between [0, {children}])")
            children = max(children, path[1] + 1)
    return children


def test_a_ticks_rerun_still_takes_what_the_browser_has_not_had_yet_out_of_a_full_runs_messages() -> None:
    """`tests/apps/overlap.py` does it in a browser, where a tick has to come in at the right moment."""
    fragment = delta(0, 0, fragment=TICKING), delta(0, 0, 0, fragment=TICKING, text="fragment")
    below = delta(0, 1, text="below")

    queue = ForwardMsgQueue()
    send(queue, *fragment, below)
    assert children_of_the_page(queue.flush()) == 2, "what a full run sends can be drawn"

    send(queue, *fragment, below)  # a full run, not yet on its way
    queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=[TICKING])  # as the rerun of the fragment begins
    send(queue, *fragment)
    try:
        children_of_the_page(queue.flush())
    except IndexError as error:
        assert str(error) == "Bad delta path index 1 (should be between [0, 0])"
    else:
        pytest.fail(
            f"Streamlit {version('streamlit')} has mended this: remove the workaround (live frames that do not go "
            "through reruns of fragments) if nothing else speaks for it, this test and tests/apps/overlap.py."
        )


def test_a_browser_keeps_what_it_is_sent_by_name_for_longer_than_reruns_follow_each_other() -> None:
    """A rerun that a script asks for goes by what the browser had when it last asked for one itself."""
    message = delta(0, 0, text="x" * 10**5)
    populate_hash_if_needed(message)
    assert message.metadata.cacheable, "nothing is sent by name any more: the option can go"
    assert config.get_option("global.maxCachedMessageAge") >= 1000


def lock_of(state: SafeSessionState) -> object:
    return vars(state)["_lock"]


def test_two_script_runs_of_one_session_still_have_a_lock_each() -> None:
    state, first = SessionState(), SafeSessionState.__init__
    while hasattr(first, "__closure__") and first.__closure__:  # Streamlit's own, below ours
        first = next(cell.cell_contents for cell in first.__closure__ if callable(cell.cell_contents))
    one, other = SafeSessionState.__new__(SafeSessionState), SafeSessionState.__new__(SafeSessionState)
    for each in (one, other):
        first(each, state, lambda: None)
    assert lock_of(one) is not lock_of(other), "lib/ui/session_lock.py can go"


def test_all_who_work_on_a_sessions_state_have_one_lock() -> None:
    session_lock.share()
    state = SessionState()
    one, other = (SafeSessionState(state, lambda: None) for _ in range(2))
    assert lock_of(one) is lock_of(other)
    assert lock_of(one) is not lock_of(SafeSessionState(SessionState(), lambda: None))
    wrong = []

    def write() -> None:
        for number in range(3000):
            one[f"key {number % 700}"] = number
            if number % 700 == 699:
                for key in range(700):
                    del one[f"key {key}"]

    def read() -> None:
        try:
            while writer.is_alive():
                assert len(other.filtered_state) <= 700
        except RuntimeError as error:  # a dictionary changed size during iteration
            wrong.append(error)

    writer, reader = threading.Thread(target=write), threading.Thread(target=read)
    writer.start(), reader.start()
    writer.join(), reader.join()
    assert not wrong
