"""Rooms: one lecturer, many who follow what he shows and vote. They live in memory, and know no one by name.

What is shown are messages, each in its place: what they say is the business of whoever draws them.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lib.live.once import once

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Of codes: none looks like a figure or like another, and no four of them make a word."""
CODE_LENGTH = 4
SECRET_LENGTH = (16, 64)
"""Characters of a lecturer's secret: at least, at most."""
MAX_ROOMS = 32
MAX_FOLLOWERS = 1000
MAX_VOTERS = 2000
MAX_VOTER = 40
"""Characters of what tells one voter from another."""
MAX_QUESTION = 400
MAX_CHOICE = 120
CHOICES = (2, 6)
ROUNDS = 2
GONE_S = 3600.0
"""So long a room waits for its lecturer."""
LEFT_S = 60.0
"""So long it keeps its place where others want one, if nobody follows."""
AWAY_S = 10.0
"""So long after the lecturer's tab was last heard of he is said to be away."""
DISCUSS = (0.35, 0.70)
"""The part of right answers in the first round at which a discussion is worth it (Crouch and Mazur 2001)."""

Place = tuple[int, ...]
"""Where a message belongs: inside of what, and as its how manieth."""


Call = Callable[[], object]


class RoomError(ValueError):
    """Something a room cannot do; says in a sentence what to do instead."""


class Truth(NamedTuple):
    """What the program has done.

    Attributes:
        choice: the number of the choice that was right.
        words: why, in a sentence or two.
    """

    choice: int
    words: str


class Offer(NamedTuple):
    """A question that the page of the lecturer has ready.

    Attributes:
        find: begins to find the truth out, and gives a call that says it, or None as long as it is on its way. What that
            raises is told as a sentence.
    """

    question: str
    choices: tuple[str, ...]
    find: Callable[[], Callable[[], Truth | None]]


@dataclass
class Ballot:
    """A question that was put to the room.

    Attributes:
        number: counts the questions of the room.
        votes: of each round, the choice of each voter.
        revealed: how many rounds have been.
        find: says the truth, or None as long as it is on its way; None where no program answers.
        runs: whether the lecturer has asked for the truth.
    """

    number: int
    question: str
    choices: tuple[str, ...]
    find: Callable[[], Truth | None] | None = None
    votes: list[dict[str, int]] = field(default_factory=lambda: [{}])
    revealed: int = 0
    runs: bool = False
    _truth: Truth | str | None = None

    @property
    def open(self) -> bool:
        """Whether votes are taken."""
        return self.revealed < len(self.votes)

    def counts(self, round: int) -> list[int]:
        """How many have chosen each."""
        chosen = list(self.votes[round].values())
        return [chosen.count(choice) for choice in range(len(self.choices))]

    def truth(self) -> Truth | str | None:
        """The truth if it is known; a sentence if it cannot be found out."""
        if self._truth is None and self.find is not None:
            try:
                self._truth = self.find()
            except Exception as error:  # whatever a routine may raise
                self._truth = str(error).strip().partition("\n")[0] or type(error).__name__
        return self._truth

    def suggests_discussion(self) -> bool:
        """Whether as many were right in the first round as makes a discussion worth it."""
        truth = self.truth()
        if self.revealed != 1 or not isinstance(truth, Truth) or not self.votes[0]:
            return False
        return DISCUSS[0] <= self.counts(0)[truth.choice] / len(self.votes[0]) <= DISCUSS[1]


class Room:
    """A lecture that is on.

    Args:
        code: what students join with.
        clock: seconds.

    Attributes:
        kept: what the lecturer's tab would lose when it is loaded anew.
        offers: the questions that the lecturer's page has ready.
    """

    def __init__(self, code: str, clock: Callable[[], float]) -> None:
        self.code = code
        self.kept: dict[str, Any] = {}
        self.offers: Sequence[Offer] = ()
        self._clock = clock
        self._lock = threading.RLock()
        self._seen_at = clock()
        self._desks = 0
        self._followers: set[Call] = set()
        self._desk_calls: set[Call] = set()
        self._ballot: Ballot | None = None
        self._ballots = 0
        self._own_address = ""
        self._page = ""
        self._messages: dict[Place, tuple[int, bytes]] = {}
        self._version = self._epoch = 0

    # The lecturer.

    def touch(self) -> None:
        """The lecturer is here."""
        self._seen_at = self._clock()

    def away_s(self) -> float:
        """For how long the lecturer has not been heard of; 0 while a tab of his is open."""
        return 0.0 if self._desks else self._clock() - self._seen_at

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    def subscribe_desk(self, call: Call) -> Call:
        """Calls whenever the lecturer should see something new; returns what ends it."""
        with self._lock:
            self._desk_calls.add(call)
            self._desks += 1

        def end() -> None:
            with self._lock:
                if call in self._desk_calls:
                    self._desk_calls.discard(call)
                    self._desks -= 1
                    self._seen_at = self._clock()

        return end

    # What is shown.

    def show(self, page: str, messages: Mapping[Place, bytes], own_address: str) -> None:
        """What the lecturer's page shows from now on.

        Args:
            page: another one makes everything new, as do messages in other places.
            messages: by place, in the order in which they have to be drawn.
            own_address: of the page with its settings, for those who want to try by themselves.
        """
        with self._lock:
            self.touch()
            whole = page != self._page or list(messages) != list(self._messages)
            self._version += 1
            if whole:
                self._epoch = self._version
                self._messages = {place: (self._version, message) for place, message in messages.items()}
            else:
                for place, message in messages.items():
                    if self._messages[place][1] != message:
                        self._messages[place] = (self._version, message)
            self._page = page
            self._own_address = own_address
        self._tell(self._followers)

    def put(self, place: Place, message: bytes, alone: bool) -> None:
        """One message in its place, after `show`.

        Args:
            alone: nothing is in it: what was in this place is gone.
        """
        with self._lock:
            if alone:
                for one in [p for p in self._messages if p[: len(place)] == place and p != place]:
                    del self._messages[one]
            elif self._messages.get(place, (0, b""))[1] == message:
                return
            self._version += 1
            self._messages[place] = (self._version, message)
        self._tell(self._followers)

    def news(self, seen: int) -> tuple[int, str, list[bytes], bool]:
        """What has to be drawn by whoever has drawn everything up to a version, 0 for nothing.

        Returns:
            The version that he is at then, the page, the messages in their order, and whether what was there before has
            to go.
        """
        with self._lock:
            whole = seen < self._epoch
            messages = [m for version, m in self._messages.values() if whole or version > seen]
            return self._version, self._page, messages, whole

    def subscribe(self, call: Call) -> Call:
        """Calls whenever a follower should see something new; returns what ends it.

        Raises:
            RoomError: the room is full.
        """
        with self._lock:
            if len(self._followers) >= MAX_FOLLOWERS:
                raise RoomError(f"This lecture has {MAX_FOLLOWERS:,} followers, and no room for more.")
            self._followers.add(call)
        self._tell(self._desk_calls)

        def end() -> None:
            with self._lock:
                self._followers.discard(call)
            self._tell(self._desk_calls)

        return end

    def state(self) -> dict[str, Any]:
        """What students are told beside the page, as JSON has it. No counts before they are revealed."""
        with self._lock:
            return {
                "code": self.code, "away": self.away_s() > AWAY_S, "own": self._own_address, "ballot": self._told(),
            }  # fmt: skip

    def desk(self) -> dict[str, Any]:
        """What the lecturer is told."""
        with self._lock:
            ballot = self._ballot
            more: dict[str, Any] = {
                "followers": self.followers, "offers": [offer.question for offer in self.offers],
            }  # fmt: skip
            if ballot is not None:
                more["answered"] = len(ballot.votes[-1])
                more["suggests"] = ballot.suggests_discussion()
                more["again"] = not ballot.open and len(ballot.votes) < ROUNDS and not ballot.runs
                more["run"] = ballot.revealed > 0 and ballot.find is not None and not ballot.runs
            return {**self.state(), "away": False, **more}

    def _told(self) -> dict[str, Any] | None:
        ballot = self._ballot
        if ballot is None:
            return None
        truth = ballot.truth() if ballot.runs else None
        return {
            "number": ballot.number, "question": ballot.question, "choices": list(ballot.choices), "open": ballot.open,
            "round": len(ballot.votes), "rounds": [ballot.counts(round) for round in range(ballot.revealed)],
            "runs": ballot.runs, "truth": truth.choice if isinstance(truth, Truth) else None,
            "words": truth.words if isinstance(truth, Truth) else truth,
        }  # fmt: skip

    # Votes.

    def ask(self, question: str, choices: Sequence[str], find: Callable[[], Truth | None] | None = None) -> None:
        """Puts a question to the room, in the place of the one before.

        Raises:
            RoomError: there is nothing to ask, or it is too long.
        """
        question, said = question.strip(), tuple(choice.strip() for choice in choices if choice.strip())
        if not question:
            raise RoomError("Type a question first.")
        if not CHOICES[0] <= len(said) <= CHOICES[1]:
            raise RoomError(f"A question needs {CHOICES[0]} to {CHOICES[1]} choices; this one has {len(said)}.")
        if len(set(said)) < len(said):
            raise RoomError("Two choices are the same: change one.")
        if len(question) > MAX_QUESTION or max(map(len, said)) > MAX_CHOICE:
            raise RoomError(f"A question may have {MAX_QUESTION} characters, and a choice {MAX_CHOICE}.")
        with self._lock:
            self._ballots += 1
            self._ballot = Ballot(self._ballots, question, said, find)
        self._tell_all()

    def offer(self, number: int) -> None:
        """Puts a question to the room that the page has ready.

        Raises:
            RoomError: the page has no such question any more.
        """
        offers = self.offers
        if not 0 <= number < len(offers):
            raise RoomError("The page has changed: choose again.")
        self.ask(offers[number].question, offers[number].choices, offers[number].find())

    def vote(self, voter: str, ballot: int, round: int, choice: int) -> None:
        """One vote, or another instead of the one before.

        Raises:
            RoomError: it is not taken.
        """
        if not 8 <= len(voter) <= MAX_VOTER:
            raise RoomError("This browser has no name to vote under: load the page anew.")
        with self._lock:
            asked = self._ballot
            if asked is None or asked.number != ballot or len(asked.votes) != round or not asked.open:
                raise RoomError("The vote is over.")
            if not 0 <= choice < len(asked.choices):
                raise RoomError("There is no such choice.")
            votes = asked.votes[-1]
            if voter not in votes and len(votes) >= MAX_VOTERS:
                raise RoomError(f"{MAX_VOTERS:,} have voted, and there is no room for more.")
            votes[voter] = choice
        self._tell(self._desk_calls)

    def reveal(self) -> None:
        """Ends the round and shows how it came out."""
        with self._lock:
            if self._ballot is not None:
                self._ballot.revealed = len(self._ballot.votes)
        self._tell_all()

    def again(self) -> None:
        """Begins the second round."""
        with self._lock:
            ballot = self._ballot
            if ballot is not None and not ballot.open and len(ballot.votes) < ROUNDS and not ballot.runs:
                ballot.votes.append({})
        self._tell_all()

    def run(self) -> None:
        """Shows the truth, as soon as it is known."""
        with self._lock:
            if self._ballot is not None and self._ballot.revealed and self._ballot.find is not None:
                self._ballot.runs = True
        self._tell_all()

    def done(self) -> None:
        """Takes the question away."""
        with self._lock:
            self._ballot = None
        self._tell_all()

    @property
    def waits(self) -> bool:
        """Whether a truth is on its way: somebody has to look again."""
        ballot = self._ballot
        return ballot is not None and ballot.find is not None and ballot.truth() is None

    def look(self) -> None:
        """Tells everybody if the truth has come."""
        if not self.waits:
            self._tell_all()

    def _tell_all(self) -> None:
        self._tell(self._followers)
        self._tell(self._desk_calls)

    def _tell(self, calls: Iterable[Call]) -> None:
        with self._lock:
            now = list(calls)
        for call in now:
            call()


class Rooms:
    """All rooms of this process.

    Args:
        clock: seconds.

    Attributes:
        taken: whether a code is that of a room elsewhere.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rooms: dict[str, Room] = {}
        self._codes: dict[str, str] = {}
        self.taken: Callable[[str], bool] = lambda code: False

    def open(self, secret: str | None = None) -> str:
        """Opens a room, and returns the secret of its lecturer.

        Args:
            secret: of a room that there was: it gets the same code.

        Raises:
            RoomError: there are too many, or somebody else has the code.
        """
        for _ in range(8):
            chosen = secret or secrets.token_urlsafe(18)
            code = code_of(chosen)
            if secret is None and self.taken(code):
                continue
            with self._lock:
                self._clear()
                if self._codes.get(chosen) == code:
                    return chosen
                if code not in self._rooms:
                    if len(self._rooms) >= MAX_ROOMS and not self._make_room():
                        raise RoomError(f"All {MAX_ROOMS} rooms of this server are in use. Try again in an hour.")
                    self._rooms[code] = Room(code, self._clock)
                    self._codes[chosen] = code
                    return chosen
            if secret is not None:
                break
        raise RoomError("Another lecture has this code now. Open a new room.")

    def get(self, code: str) -> Room | None:
        """The room of a code."""
        with self._lock:
            self._clear()
            return self._rooms.get(code)

    def of(self, secret: str) -> Room | None:
        """The room of a lecturer's secret."""
        with self._lock:
            self._clear()
            return self._rooms.get(self._codes.get(secret, ""))

    def codes(self) -> list[str]:
        """Of all rooms."""
        with self._lock:
            return list(self._rooms)

    def away_s(self, code: str) -> float | None:
        """For how long the lecturer of a room has not been heard of; None if there is no such room."""
        room = self.get(code)
        return None if room is None else room.away_s()

    def close(self, secret: str) -> None:
        """Ends a lecture."""
        with self._lock:
            self._rooms.pop(self._codes.pop(secret, ""), None)

    def _make_room(self) -> bool:
        """Ends a lecture that nobody follows and whose lecturer is away, if there is one."""
        for secret, code in self._codes.items():
            if self._rooms[code].away_s() > LEFT_S and not self._rooms[code].followers:
                del self._rooms[code], self._codes[secret]
                return True
        return False

    def _clear(self) -> None:
        for secret, code in list(self._codes.items()):
            if self._rooms[code].away_s() > GONE_S:
                del self._rooms[code], self._codes[secret]


@functools.lru_cache(maxsize=256)
def code_of(secret: str) -> str:
    """The code of the room that a secret opens.

    It follows from the secret, so that after a restart of the server nobody but the lecturer can open the room under its
    code while its followers wait for it. Slow on purpose: one of the secrets of a code is not found by trying.

    Raises:
        RoomError: it is no secret.
    """
    if not SECRET_LENGTH[0] <= len(secret) <= SECRET_LENGTH[1] or not secret.isascii():
        raise RoomError("This is no lecturer's address. Press Teach to open a room.")
    number = int.from_bytes(hashlib.scrypt(secret.encode(), salt=b"room", n=2**14, r=8, p=1, dklen=8), "big")
    code = ""
    for _ in range(CODE_LENGTH):
        number, letter = divmod(number, len(LETTERS))
        code += LETTERS[letter]
    return code


@once
def default_rooms() -> Rooms:
    """The rooms of this process."""
    return Rooms()
