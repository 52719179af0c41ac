"""Something that is done in a thread of its own, and may be given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Begins at once. A program that ends does not wait for it."""

    def __init__(self, act: Callable[[], T]) -> None:
        self._act = act
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._act())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            self._error = error

    def result(self, timeout: float | None = None) -> T:
        """What came of it, or what it raised. TimeoutError: nothing did within `timeout` seconds."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        if not self._results:
            raise TimeoutError
        return self._results[0]
