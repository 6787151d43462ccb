"""Operations that may wait for one another come after what is computed without any of them.

While one waits, the run goes on with those of the others that have their operands (`plan.Plan`): so what these are
computed from must not stand behind the one that waits.
"""

from __future__ import annotations

from collections import Counter

from graphflow.program import Node, Program, ProgramBuilder, Replacement, Value, rebuild

__all__ = ["late_waits"]

_WAITING = frozenset(
    "QueueEnqueueV2 QueueEnqueueManyV2 QueueDequeueV2 QueueDequeueManyV2 QueueDequeueUpToV2".split()
)


def late_waits(program: Program, counts: Counter[str]) -> Program:
    """Returns the program with several such operations, and all that comes after them, behind everything else.

    What acts on the world keeps its order.
    """
    waiting = [node for node in program.effects if node.type in _WAITING]
    if len(waiting) < 2:
        return program
    behind: set[Node] = set()
    acted = False
    for node in program.nodes:
        acted = acted or node is waiting[0]
        needs = (*(value.node for value in node.inputs), *node.controls)
        if (acted and node.op_def.stateful) or not behind.isdisjoint(needs):
            behind.add(node)
    if all(node in behind for node in program.nodes if node.serial > waiting[0].serial):
        return program
    counts["nodes"] += len(behind)

    def replace(
        builder: ProgramBuilder, node: Node, inputs: tuple[Value, ...], controls: tuple[Node, ...]
    ) -> Replacement:
        return builder.again(node, inputs, controls, anew=True) if node in behind else None

    return rebuild(program, replace)
