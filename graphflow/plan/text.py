"""A plan as text."""

from __future__ import annotations

from graphflow.loops.cost import Cost
from graphflow.plan.steps import Arg, Count, Launch, Ref
from graphflow.regions import Mark, Term


def short(value: float) -> str:
    """A number to three digits, with the space and the prefix that go before its unit."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:.3g} P"


def show_launch(launch: Launch, cost: Cost) -> str:
    """A launch as one line."""
    args = ", ".join(_show(arg) for arg in launch.args)
    return f"{launch.name}({args})  {short(cost.flops)}FLOP {short(cost.read)}B -> {short(cost.written)}B"


def show_mark(mark: Mark) -> str:
    """What a mark of a region says, or nothing where the marks around it say it."""
    slot = "" if mark.slot is None else f"%{mark.slot.index}"
    region = mark.region
    if mark.kind == "enter":
        most = slot or ("" if region.most is None else str(region.most))
        return f"loop {region.name}".rstrip() + (f", {most} turns" if most else "")
    if mark.kind == "leave":
        return f"leave unless {slot}"
    if mark.kind == "case":
        return f"case {slot}" + ("" if mark.number is None else f" is {mark.number}")
    return {"last": "then", "left": "end of loop", "otherwise": "otherwise", "join": "end of cases"}.get(
        mark.kind, ""
    )


def _show(arg: Arg) -> str:
    if isinstance(arg, Ref):
        skip = f"+{arg.offset}" if arg.offset else ""
        return f"{arg.access} %{arg.slot.index}{skip}" + "".join(map(_show_term, arg.slot.terms))
    if isinstance(arg, Count):
        return f"{arg.start}{_show_term(Term(arg.loop, arg.step))}"
    return str(arg)


def _show_term(term: Term) -> str:
    step = f"{term.step:+}*turn" if term.step else ""
    end = f"{term.ends:+}*turns" if term.ends else ""
    return end + step + (f"{term.swing:+}*odd" if term.swing else "")
