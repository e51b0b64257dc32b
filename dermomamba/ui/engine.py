"""The predictor behind the page: loaded once, in the background, shared by all sessions.

A `Predictor` is immutable after construction, so sharing it cannot mix two people's photos; the page answers
while it is still loading.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dermomamba.errors import DermoMambaError


class Engine:
    """Holds a predictor that a factory builds on another thread.

    Args:
        factory: makes the predictor, e.g. ``Predictor.load``.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._done = threading.Event()
        self._predictor: Any = None
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._started = False
        self._untrained: Any = None

    def start(self) -> None:
        """Begin loading; a second call does nothing."""
        with self._lock:
            if self._started:
                return
            self._started = True
        threading.Thread(target=self._load, name="load-predictor", daemon=True).start()

    def _load(self) -> None:
        try:
            self._predictor = self._factory()
        except Exception as error:  # kept, and raised to whoever asks for the predictor
            self._error = error
        finally:
            self._done.set()

    @property
    def ready(self) -> bool:
        """Whether loading has ended, well or badly."""
        return self._done.is_set()

    def predictor(self) -> Any:
        """The predictor, waiting for it if need be.

        Raises:
            DermoMambaError: why it could not be loaded, in the loader's own words.
        """
        self.start()
        self._done.wait()
        if self._error is not None:
            if isinstance(self._error, DermoMambaError):
                raise self._error
            raise DermoMambaError(f"The network could not be loaded: {self._error}") from self._error
        return self._predictor

    def untrained(self) -> Any:
        """A predictor of the same network before any training, made once: the control of the Attention tab.

        Raises:
            DermoMambaError: as ``predictor``.
        """
        trained = self.predictor()
        from dermomamba import weights
        from dermomamba.predictor import Predictor

        with self._lock:
            if self._untrained is None:
                self._untrained = Predictor(weights.untrained(trained.weights.image_size), str(trained.device))
            return self._untrained
