"""`lib/live/room.py` and the server's side of it: who may move a room, what is counted, and what each is told."""

import asyncio
import json

import harness as h
import pytest
import websockets
from followers import Follower, Lecturer, voted
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from test_pages import open_page

from lib.live import room as rooms
from lib.live.room import Offer, Room, RoomError, Rooms, Truth, code_of

VOTERS = [f"voter-{n:04}" for n in range(20)]


@pytest.fixture
def all_rooms(clock):
    return Rooms(clock)


@pytest.fixture
def room(clock):
    return Room("KQZT", clock)


def ask(room, find=None):
    room.ask("What does `jit` do?", ["It compiles", "It traces", "Both"], find)
    return room.state()["ballot"]["number"]


def test_a_code_is_four_letters_and_follows_from_the_secret_alone(all_rooms, clock):
    secret = all_rooms.open()
    code = code_of(secret)
    assert len(code) == 4 and set(code) <= set(rooms.LETTERS) and len(secret) >= 20
    assert all_rooms.get(code) is all_rooms.of(secret) is not None
    anew = Rooms(clock)  # the server was started again
    assert anew.get(code) is None and anew.of(secret) is None
    assert anew.open(secret) == secret and anew.get(code) is anew.of(secret)
    assert anew.open(secret) == secret, "twice is once"


def test_nobody_is_the_lecturer_of_a_room_by_its_code(all_rooms):
    secret = all_rooms.open()
    for tried in (code_of(secret), "", secret[:-1], secret.lower()):
        assert all_rooms.of(tried) is None
    with pytest.raises(RoomError):
        all_rooms.open(code_of(secret))


def test_a_room_is_gone_after_an_hour_without_its_lecturer(all_rooms, clock):
    secret = all_rooms.open()
    clock.now += rooms.GONE_S - 1
    assert all_rooms.of(secret)
    all_rooms.of(secret).touch()
    clock.now += rooms.GONE_S - 1
    room = all_rooms.of(secret)
    end = room.subscribe_desk(lambda: None)
    clock.now += 10 * rooms.GONE_S
    assert all_rooms.of(secret) is room, "a tab of his is open"
    end()
    clock.now += rooms.GONE_S + 1
    assert all_rooms.of(secret) is None and all_rooms.get(room.code) is None


def test_rooms_are_bounded_and_one_that_nobody_is_in_gives_way(all_rooms, clock, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_ROOMS", 2)
    first, second = all_rooms.open(), all_rooms.open()
    with pytest.raises(RoomError, match="in use"):
        all_rooms.open()
    clock.now += rooms.LEFT_S + 1
    all_rooms.of(first).subscribe(lambda: None)
    all_rooms.open()
    assert all_rooms.of(first) and all_rooms.of(second) is None


def test_a_follower_is_sent_what_is_new_and_a_page_at_once(room):
    room.show("one", {(0,): b"a", (0, 0): b"b"}, "one?x=1")
    seen, page, messages, whole = room.news(0)
    assert (page, messages, whole) == ("one", [b"a", b"b"], True)
    assert room.news(seen) == (seen, "one", [], False)
    room.show("one", {(0,): b"a", (0, 0): b"c"}, "one?x=2")
    seen, _, messages, whole = room.news(seen)
    assert (messages, whole) == ([b"c"], False)
    room.put((0, 1), b"late", alone=True)
    assert room.news(seen)[2:] == ([b"late"], False)
    room.put((0,), b"alone", alone=True)
    assert room.news(0)[2] == [b"alone"], "what was inside is gone"
    room.show("two", {(0,): b"alone"}, "two")
    assert room.news(seen)[1:] == ("two", [b"alone"], True)


def test_followers_are_called_when_there_is_news_and_are_bounded(room, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_FOLLOWERS", 1)
    calls, desk = [], []
    room.subscribe_desk(lambda: desk.append(room.desk()["followers"]))
    end = room.subscribe(lambda: calls.append(1))
    with pytest.raises(RoomError, match="no room for more"):
        room.subscribe(lambda: None)
    room.show("one", {(0,): b"a"}, "one")
    end()
    room.show("one", {(0,): b"b"}, "one")
    assert calls == [1] and desk == [1, 0]


def test_one_vote_a_round_that_can_be_changed_until_it_is_revealed(room):
    number = ask(room)
    for choice in (0, 2, 1):
        room.vote(VOTERS[0], number, 1, choice)
    room.vote(VOTERS[1], number, 1, 2)
    assert room.desk()["answered"] == 2 and room.state()["ballot"]["rounds"] == [], "students are told no counts"
    room.reveal()
    assert room.state()["ballot"]["rounds"] == [[0, 1, 1]]
    with pytest.raises(RoomError, match="over"):
        room.vote(VOTERS[0], number, 1, 0)
    room.again()
    room.vote(VOTERS[0], number, 2, 2)
    with pytest.raises(RoomError, match="over"):
        room.vote(VOTERS[1], number, 1, 2)
    assert room.state()["ballot"]["rounds"] == [[0, 1, 1]]
    room.reveal()
    assert room.state()["ballot"]["rounds"] == [[0, 1, 1], [0, 0, 1]]
    room.again()
    assert not room.state()["ballot"]["open"], "two rounds are all"


def test_what_is_typed_and_who_votes_is_bounded(room, monkeypatch):
    for question, choices, why in (
        ("", "ab", "Type a question"), ("q", "a", "2 to 6"), ("q", "abcdefg", "2 to 6"), ("q", "aa", "same"),
        ("q" * 401, "ab", "400"), ("q", ["a", "b" * 121], "120"),
    ):  # fmt: skip
        with pytest.raises(RoomError, match=why):
            room.ask(question, list(choices))
    monkeypatch.setattr(rooms, "MAX_VOTERS", 2)
    number = ask(room)
    for voter in VOTERS[:2] * 2:
        room.vote(voter, number, 1, 0)
    for voter, ballot, choice in ((VOTERS[2], number, 0), ("x", number, 0), ("x" * 41, number, 0), (VOTERS[0], 7, 0), (VOTERS[0], number, 3)):  # fmt: skip
        with pytest.raises(RoomError):
            room.vote(voter, ballot, 1, choice)
    assert room.desk()["answered"] == 2


@pytest.mark.parametrize(("right", "suggested"), [(6, False), (7, True), (14, True), (15, False)])
def test_a_discussion_is_suggested_where_35_to_70_percent_are_right(room, right, suggested):
    number = ask(room, lambda: Truth(2, "It does."))
    for place, voter in enumerate(VOTERS):
        room.vote(voter, number, 1, 2 if place < right else 0)
    assert not room.desk()["suggests"], "not before the reveal"
    room.reveal()
    assert room.desk()["suggests"] is suggested
    assert room.state()["ballot"]["truth"] is None, "the truth is for Run to show"


def test_run_shows_the_truth_when_it_has_come_or_says_why_not(room):
    found = []
    room.offers = [Offer("Which?", ("this", "that"), lambda: lambda: found[0] if found else None)]
    with pytest.raises(RoomError, match="choose again"):
        room.offer(1)
    room.offer(0)
    room.run()
    assert not room.state()["ballot"]["runs"], "not before the reveal"
    room.reveal()
    room.run()
    assert room.waits and room.state()["ballot"]["truth"] is None
    found.append(Truth(1, "Because."))
    assert (room.state()["ballot"]["truth"], room.state()["ballot"]["words"]) == (1, "Because.")
    room.again()
    assert not room.state()["ballot"]["open"], "who has seen the truth does not predict"

    def fails():
        raise ValueError("no such shape\nand more")

    ask(room, fails)
    room.reveal()
    room.run()
    assert (room.state()["ballot"]["truth"], room.state()["ballot"]["words"]) == (None, "no such shape")


def test_where_nothing_can_be_pushed_teach_says_so_in_a_sentence():
    teach = next(button for button in open_page("jit_vmap").sidebar.button if button.label == "Teach")
    assert teach.disabled and teach.help.startswith("A room needs a server that pushes") and teach.help.count(".") == 2


# With a server: what goes over the wire.


@pytest.fixture(scope="module")
def server():
    with h.serve() as server:
        yield server
        assert not server.errors(), server.log()


def test_followers_see_the_lecturer_s_page_and_settings_and_never_his_secret(server):
    async def lecture():
        async with Lecturer(server.url, "jit_vmap") as lecturer, Follower(server.url, lecturer.code) as follower:
            await follower.until(lambda: follower.heading.startswith("jit(vmap(f))"))
            await follower.until(lambda: follower.values.get("Batch size") == "32")
            await lecturer.choose("Batch size", "8")
            await follower.until(lambda: follower.values["Batch size"] == "8")
            await follower.until(lambda: follower.frames > 0)
            await lecturer.press("Run")
            await follower.until(lambda: follower.steps > 0)
            await lecturer.go("jit_grad")
            await follower.until(lambda: follower.heading.startswith("jit(grad(f))"))
            await follower.until(lambda: follower.state["own"].startswith("jit_grad?batch_size=8"))
            assert lecturer.secret.encode() not in b"".join(follower.received)
            messages = [ForwardMsg.FromString(part) for part in follower.received]
            assert not any(message.HasField("page_info_changed") for message in messages)
            assert {message.metadata.delta_path[0] for message in messages if message.HasField("delta")} == {0, 2}, (
                "nothing of the sidebar"
            )

    asyncio.run(lecture())


def test_nobody_but_the_lecturer_moves_the_room(server):
    async def lecture():
        async with Lecturer(server.url, "jit_vmap") as lecturer, Follower(server.url, lecturer.code) as follower:
            await follower.until(lambda: follower.heading.startswith("jit(vmap(f))"))
            before = len(follower.received)
            for secret in (lecturer.code, lecturer.secret[:-1], "x" * 24):
                async with websockets.connect(f"{server.url.replace('http', 'ws')}/teach/{secret}") as desk:
                    with pytest.raises(websockets.ConnectionClosed):
                        await desk.recv()
            await follower.press_everything()  # as a student who works around what his page lets him press
            async with Lecturer(server.url, "jit_grad", query=f"teach={lecturer.secret[:-1]}x", teaches=False) as other:
                assert other.secret != lecturer.secret
            await lecturer.say(do="ask", question="Who?", choices=["one", "other"])
            await follower.until(lambda: follower.state["ballot"] is not None)
            assert follower.heading.startswith("jit(vmap(f))") and follower.state["ballot"]["question"] == "Who?"
            assert len(follower.received) > before
            for body in ("", "[]", '{"code": 1}', "9" * 5000, json.dumps({"code": lecturer.code, "voter": "x", "ballot": 1, "round": 1, "choice": 0})):  # fmt: skip
                assert voted(server.url, body) >= 400

    asyncio.run(lecture())


def test_a_browser_that_was_cut_off_follows_again_though_it_asks_for_nothing(server):
    async def lecture():
        async with Lecturer(server.url, "jit_vmap") as lecturer, Follower(server.url, lecturer.code) as follower:
            await follower.until(lambda: follower.session)
            async with Follower(server.url, "", session=follower.session) as again:
                await again.until(lambda: again.heading.startswith("jit(vmap(f))"))

    asyncio.run(lecture())
