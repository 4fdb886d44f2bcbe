"""Finds out what a question asks, off the script's thread, under the settings that it is given."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax

from lib.live.engine import default_engine
from lib.live.measurement import default_measurements
from lib.measure.questions import Found, Order, Question
from lib.routines.mistakes import without_paths


class Finding:
    """The truth of a question on its way.

    The same question under the same settings is computed once for all visitors; a measurement waits in the line of
    measurements, and goes on as long as somebody looks.

    Args:
        settings: of the page, by name; those that the question depends on must be hashable.
        device: where it is computed.
        visitor: who asks.

    Attributes:
        given: the settings that the answer depends on.
        measured: whether it waits in the line of measurements.
        error: one sentence, if it could not be found out.
    """

    def __init__(self, question: Question, settings: Mapping[str, Any], device: jax.Device, visitor: Hashable) -> None:
        self.question = question
        self.settings = {**settings, "device": device}
        self.given = question.given(self.settings)
        self.measured = isinstance(question.answer, Order)
        self.error = ""
        self._found: Found | None = None
        self._visitor = visitor
        find, values = question.find, tuple(value for name, value in self.given.items() if name != "device")
        if self.measured:
            self._measured = default_measurements().recent((find, values, device)) or default_measurements().ask(
                visitor, (find, values, device), device, lambda: find(**self.given)
            )
        else:
            self._future = default_engine().answers.get((find, values, device), _on_device, device, find, self.given)

    @property
    def done(self) -> bool:
        """Whether it is known, or never will be."""
        return self.look() is not None or bool(self.error)

    def look(self) -> Found | None:
        """What has been found out; None until it has, or if there is an `error`. Returns at once."""
        if self._found is None and not self.error:
            try:
                result = self._result()
                if result is not None:
                    self._found = self.question.found(result, self.settings)
            except Exception as error:  # whatever a routine may raise: a page says so in a sentence
                self.error = without_paths(str(error)).strip().partition("\n")[0] or type(error).__name__
        return self._found

    def _result(self) -> Any:
        if self.measured:
            default_measurements().look(self._measured, self._visitor)
            if self._measured.error:
                raise RuntimeError(self._measured.error)
            return list(self._measured.records) if self._measured.done else None
        return self._future.result() if self._future.done() else None


def _on_device(device: jax.Device, find: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    with jax.default_device(device):  # of this thread alone
        return jax.device_get(find(**given))
