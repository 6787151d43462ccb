"""What a request's JSON may be, looked at before anything is made of it."""

from __future__ import annotations

import re

import numpy as np

from graphflow.errors import InvalidArgumentError

# Lists and objects within one another, tensors' axes among them: NumPy's arrays have as many.
DEEPEST = 64
# Numbers, texts and lists of a request. What is larger travels as binary tensors.
MOST_ELEMENTS = 1 << 24

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[{]}")))
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def check_json(body: bytes) -> None:
    """Looks at the text of a request.

    Raises:
      InvalidArgumentError: if it is nested deeper than `DEEPEST`, or may hold more than `MOST_ELEMENTS`.
    """
    if may_be_too_many(body) and _TEXT.sub(b"", body).count(b",") >= MOST_ELEMENTS:
        raise InvalidArgumentError(
            None,
            None,
            f"the request's JSON has more than {MOST_ELEMENTS} elements; send binary tensors, or less at once",
        )
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    if _depth(body) > DEEPEST and _depth(_TEXT.sub(b"", body)) > DEEPEST:
        raise InvalidArgumentError(
            None, None, f"the request's JSON is nested too deeply; {DEEPEST} levels are the limit"
        )


def may_be_too_many(body: bytes) -> bool:
    """Whether a text has more than `MOST_ELEMENTS`, if there are no commas within its texts."""
    # Each element but the first of a list follows a comma. Counting them takes about as long as parsing.
    return len(body) >= MOST_ELEMENTS and body.count(b",") >= MOST_ELEMENTS


def _depth(body: bytes) -> int:
    steps = np.frombuffer(body.translate(_STEPS, _NO_BRACKETS), np.int8)
    return int(steps.cumsum(dtype=np.int64).max(initial=0))
