"""gf.logging: levels, and messages that are not repeated."""

from __future__ import annotations

import logging

import pytest

import graphflow as gf


@pytest.fixture(autouse=True)
def level() -> object:
    before = gf.logging.get_verbosity()
    yield
    gf.logging.set_verbosity(before)


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    assert gf.logging.INFO == logging.INFO and gf.logging.WARN == logging.WARNING
    gf.logging.set_verbosity(gf.logging.WARN)
    gf.logging.info("quiet")
    gf.logging.warn("loud %d", 3)
    gf.logging.set_verbosity("DEBUG")
    gf.logging.vlog(gf.logging.DEBUG, "deep")
    assert [record.getMessage() for record in caplog.records] == ["loud 3", "deep"]
    assert {record.name for record in caplog.records} == {"graphflow"}


def test_messages_that_are_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    for i in range(7):
        gf.logging.log_every_n(gf.logging.ERROR, "every %d", 3, i)
        gf.logging.log_first_n(gf.logging.ERROR, "first %d", 2, i)
    texts = [record.getMessage() for record in caplog.records]
    assert texts == ["every 0", "first 0", "first 1", "every 3", "every 6"]
