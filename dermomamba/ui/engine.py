"""The predictor behind the page: loaded once, in the background, shared by all sessions.

A `Predictor` is immutable after construction, so sharing it cannot mix two people's photos; the page answers
while it is still loading.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dermomamba.errors import DermoMambaError


class OwnWeights:
    """A session's own predictor, with fine-tuned weights; let go when the session ends.

    Args:
        predictor: with the own weights.
        base: name of the weights that they began with.
    """

    def __init__(self, predictor: Any, base: str) -> None:
        self.predictor: Any = predictor
        self.base = base

    def release(self) -> None:
        """Give the memory back; whoever still holds this uses the shipped weights from now on."""
        self.predictor = None


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

    def predictor_for(self, own: OwnWeights | None) -> Any:
        """The session's own predictor when it has one, otherwise the shared one.

        Args:
            own: the session's, or None.

        Raises:
            DermoMambaError: as ``predictor``.
        """
        predictor = own.predictor if own is not None else None
        return self.predictor() if predictor is None else predictor

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
