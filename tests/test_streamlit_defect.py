"""Defects of Streamlit's that the app works around. When Streamlit mends the first, this says so by failing."""

from importlib.metadata import version

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.forward_msg_cache import populate_hash_if_needed
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue

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


def test_nothing_is_sent_by_its_name_alone_which_a_browser_may_have_forgotten() -> None:
    """A rerun that a script asks for goes by what the browser had when it last asked for one itself."""
    message = delta(0, 0, text="x" * 10**6)
    populate_hash_if_needed(message)
    assert message.hash and not message.metadata.cacheable
