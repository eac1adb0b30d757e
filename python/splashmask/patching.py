# SPDX-License-Identifier: Apache-2.0
"""Functions of another library, replaced for a while wherever they are known by name."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator


class Patch:
    """Swaps functions in every module that holds them, for the whole process; may be nested and
    entered from several threads: the first to enter swaps, the last to leave swaps back."""

    def __init__(self, pairs: list[tuple[Callable, Callable]]):
        self._pairs = pairs
        self._lock = threading.Lock()
        self._depth = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                _replace({id(old): new for old, new in self._pairs})
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    _replace({id(new): old for old, new in self._pairs})


def _replace(by_id: dict[int, Callable]) -> None:
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("splashmask."):
            continue
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in by_id:
                setattr(module, name, by_id[id(value)])
