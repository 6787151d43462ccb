"""Samples of ops on files; they are run in tests/test_readers.py."""

from __future__ import annotations

from collections.abc import Iterator

from tests.samples import Sample, samples
from tests.samples.io import texts
from tests.samples.strings import text


@samples("ReadFile")
def read_samples() -> Iterator[Sample]:
    yield Sample([text(b"/a/file")], exact=False)


@samples("WriteFile")
def write_samples() -> Iterator[Sample]:
    yield Sample([text(b"/a/file"), text(b"contents")], exact=False)


@samples("MatchingFiles")
def match_samples() -> Iterator[Sample]:
    yield Sample([texts(b"/a/*", b"/b/*")], exact=False)
