"""Quick dataclasses behave as the standard ones."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any, ClassVar

import pytest

from graphflow import records


def pair(**switches: Any) -> tuple[Any, Any]:
    """The same class by the standard decorator and by ours."""

    def plain() -> type:
        class Point:
            """A point."""

            x: int
            y: float = 2.0
            tags: list[str] = dataclasses.field(default_factory=list, compare=False)
            _kept: int = dataclasses.field(default=7, repr=False, kw_only=True)

            @property
            def sum(self) -> float:
                return self.x + self.y

        return Point

    return dataclasses.dataclass(**switches)(plain()), records.dataclass(**switches)(plain())


SWITCHES = [
    {}, {"slots": True}, {"frozen": True}, {"frozen": True, "slots": True}, {"kw_only": True, "frozen": True},
    {"frozen": True, "slots": True, "eq": False}, {"slots": True, "eq": False},
]  # fmt: skip


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_as_the_standard_ones(switches: dict[str, Any]) -> None:
    answers = []
    for kind in pair(**switches):
        a, b, c = kind(x=1), kind(x=1, tags=["t"]), kind(x=float("nan"), y=3, _kept=8)
        answer: list[Any] = [
            repr(a).rpartition("Point")[2], repr(c).rpartition("Point")[2], a == b, a == c, c == c, a != 3, a.sum,
            [f.name for f in dataclasses.fields(kind)], kind.__match_args__, kind.__doc__, kind.__qualname__,
            dataclasses.asdict(b), dataclasses.replace(b, x=5).x, dataclasses.replace(b, x=5).tags,
            hasattr(a, "__dict__"), kind.__hash__ is None, copy.copy(c).y, a.tags is not b.tags,
        ]  # fmt: skip
        if not switches.get("kw_only"):
            answer.append(kind(1, 2, ["u"]).tags)
        if switches.get("frozen"):
            with pytest.raises(dataclasses.FrozenInstanceError):
                a.x = 3
            with pytest.raises(dataclasses.FrozenInstanceError):
                del a.x
            answer.append(hash(a) == hash(b))
        for wrong in ({}, {"x": 1, "z": 2}):
            with pytest.raises(TypeError):
                kind(**wrong)
        answers.append(answer)
    assert answers[0] == answers[1]


@records.dataclass(frozen=True, slots=True)
class Base:
    """Has one field."""

    name: str


@records.dataclass(frozen=True, slots=True)
class Derived(Base):
    """Has two, and works the second out."""

    size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.name))


def test_inheritance_and_pickles() -> None:
    made = Derived("abc")
    assert (made.size, repr(made)) == (3, "Derived(name='abc', size=3)")
    assert made == Derived("abc") != Derived("abd")
    assert made != Base("abc")
    assert pickle.loads(pickle.dumps(made)) == made
    assert not hasattr(made, "__dict__")


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="default_factory"):

        @records.dataclass
        class Shared:
            items: list[int] = []

    with pytest.raises(TypeError, match="plain fields"):

        @records.dataclass
        class Counted:
            count: ClassVar[int] = 0
