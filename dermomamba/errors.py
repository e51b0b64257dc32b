"""The one family of errors that a user may meet.

Every message is a sentence for a clinician: what is wrong, and what to do. Programming errors stay
Python's own (TypeError, AssertionError); they are never dressed up as one of these.
"""

from __future__ import annotations


class DermoMambaError(Exception):
    """Something that the person can mend; ``str(error)`` says what is wrong and what to do."""


class ImageError(DermoMambaError, ValueError):
    """A file or array that cannot be used as a photo."""


class DataError(DermoMambaError, ValueError):
    """A data set (folder, ZIP, pairs of photo and mask) that cannot be used as given."""


class WeightsError(DermoMambaError, ValueError):
    """Weights that are unknown, incomplete, or do not fit the network."""


class BackendError(DermoMambaError, RuntimeError):
    """A scan back end or device that was asked for and cannot run here."""


class ScaleError(DermoMambaError, ValueError):
    """A scale (millimetres per pixel) that makes no sense."""
