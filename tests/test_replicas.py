"""`lib/live/replicas.py`: two servers of the app and one scheduler, as behind a load balancer."""

import asyncio
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace

import harness
import pytest
from followers import Follower, Lecturer, voted

from lib.live.replicas import Replicas
from lib.live.room import RoomError, Rooms, code_of
from lib.ui import room_routes

HERE, THERE, THIRD = "http://here:1", "http://there:1", "http://third:1"


@pytest.fixture
def rooms(clock):
    return Rooms(clock)


@pytest.fixture
def told():
    """What the others tell."""
    return {}


@pytest.fixture
def replicas(rooms, told):
    return Replicas(SimpleNamespace(told=told), rooms, HERE)


def test_a_room_is_where_its_lecturer_was_heard_of_last(replicas, rooms, told, clock):
    code = code_of(rooms.open())
    assert replicas.owner(code) is None
    told |= {THERE: {code: 0.0}, THIRD: {code: 30.0}}
    assert replicas.owner(code) is None, "he was here a moment ago"
    clock.now += 10
    assert replicas.owner(code) == THERE
    told[THERE][code] = 9.0
    assert replicas.owner(code) is None, "what they tell is not as new as that"
    told.clear()
    assert replicas.owner(code) is None and replicas.owner("ZZZZ") is None


def test_a_code_of_a_room_elsewhere_is_not_given_to_another(replicas, rooms, told, monkeypatch):
    code = code_of(secret := rooms.open())
    rooms.close(secret)
    told[THERE] = {code: 0.0}
    monkeypatch.setattr("lib.live.room.secrets.token_urlsafe", lambda size: secret)
    with pytest.raises(RoomError, match="Open a new room"):
        rooms.open()
    assert rooms.open(secret) == secret, "its own lecturer has come to this replica"


def test_a_vote_at_a_replica_that_has_just_gone_is_answered_in_a_sentence(monkeypatch):
    async def stream():
        yield json.dumps({"code": "BCDF", "voter": "voter 1", "ballot": 1, "round": 1, "choice": 0}).encode()

    monkeypatch.setattr(room_routes, "_owner", lambda code: f"http://127.0.0.1:{harness.free_port()}")
    answer = asyncio.run(room_routes._vote(SimpleNamespace(stream=stream)))
    assert answer.status_code == 409 and json.loads(answer.body) == {"error": "The lecture is over."}


def test_who_is_at_another_replica_follows_and_votes_like_everybody():
    async def lecture(one, two):
        async with AsyncExitStack() as stack:
            lecturer = await stack.enter_async_context(Lecturer(one.url, "jit_grad_vmap"))
            near = await stack.enter_async_context(Follower(one.url, lecturer.code))
            far = await stack.enter_async_context(Follower(two.url, lecturer.code))
            await far.until(lambda: far.heading == near.heading != "" and far.values == near.values != {})
            await lecturer.press("Run")
            await far.until(lambda: far.steps >= 3)
            await lecturer.choose("Batch size", "64")
            await far.until(lambda: far.values["Batch size"] == "64")
            await lecturer.say(do="ask", question="Which?", choices=["this", "that"])
            await far.until(lambda: far.state.get("ballot"))
            for url, name, choice in ((one.url, "near", 0), (two.url, "far", 1), (two.url, "far", 0)):
                vote = {"code": lecturer.code, "voter": f"{name}12345", "ballot": 1, "round": 1, "choice": choice}
                assert await asyncio.to_thread(voted, url, json.dumps(vote)) == 200
            await lecturer._until(lambda: lecturer.desk.get("answered") == 2)
            assert lecturer.desk["followers"] == 2
            await lecturer.say(do="reveal")
            await far.until(lambda: far.state["ballot"]["rounds"] == [[2, 0]])
            assert await asyncio.to_thread(voted, two.url, json.dumps(vote)) == 409, "the vote is over"

    dask = harness.Dask()
    env = {"JAX_LIVE_SCHEDULER": dask.address}
    try:
        with harness.serve(env=env) as one, harness.serve(env=env) as two:
            asyncio.run(lecture(one, two))
            assert not one.errors() and not two.errors(), one.log() + two.log()
    finally:
        dask.close()
