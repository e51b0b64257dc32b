"""What one session holds of the Fine-tune tab, and its end: images, job and own weights go when the page is closed.

Everything is found by the session's hash, so that no session can reach another's. Nothing of torch is imported before
somebody uses the tab, since that would hold up the first page.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dermomamba.ui.engine import Engine, OwnWeights

if TYPE_CHECKING:
    from dermomamba.learning.own_images import OwnImages
    from dermomamba.learning.workshop import Workshop


@dataclass(eq=False)
class Session:
    """One person's images and own weights."""

    images: OwnImages
    own: OwnWeights | None = None


class Sessions:
    """All sessions of the tab, and the workshop that they share.

    Args:
        engine: its device is where the workshop works.
        make_workshop: makes the workshop from a device and a folder; the real one by default.
    """

    def __init__(self, engine: Engine, make_workshop: Callable[[str, Path | None], Workshop] | None = None) -> None:
        self._engine, self._make = engine, make_workshop
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._workshop: Workshop | None = None

    def of(self, key: str) -> Session:
        """The session of this hash, made if need be."""
        from dermomamba.learning.own_images import OwnImages

        with self._lock:
            if key not in self._sessions:
                folder = tempfile.mkdtemp(prefix="own-", dir=os.environ.get("GRADIO_TEMP_DIR"))
                self._sessions[key] = Session(OwnImages(Path(folder)))
            return self._sessions[key]

    @property
    def workshop(self) -> Workshop:
        """The one queue of this page; waits for the network to be loaded."""
        from dermomamba.learning.workshop import Workshop

        device = str(self._engine.predictor().device)
        root = os.environ.get("GRADIO_TEMP_DIR")
        with self._lock:
            if self._workshop is None:
                self._workshop = (self._make or Workshop)(device, Path(root) if root else None)
            return self._workshop

    def running(self, key: str) -> bool:
        """Whether the session has a run that waits or learns."""
        with self._lock:
            workshop = self._workshop
        job = workshop.job(key) if workshop is not None else None
        return job is not None and not job.over

    def wear(self, key: str, own: OwnWeights | None) -> OwnWeights | None:
        """Let a session use its own weights, or with None the shipped ones again; returns the same."""
        session = self.of(key)
        if session.own is not None and session.own is not own:
            session.own.release()
        session.own = own
        return own

    def leave(self, key: str) -> None:
        """The page was closed: end the session's job, delete its images, let its weights go."""
        with self._lock:
            session = self._sessions.pop(key, None)
            workshop = self._workshop
        if workshop is not None:
            workshop.drop(key)
        if session is not None:
            session.images.close()
            if session.own is not None:
                session.own.release()
