"""Which operators of a file a delegate really took, told from the interpreter's own list of nodes.

Asking for a delegate proves nothing: what it does not know stays with the built-in kernels, silently.
After a delegate has changed the graph, the interpreter lists its partitions as nodes named DELEGATE
behind the operators of the file, each with the tensors it reads and writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from edgecell.graph import working
from edgecell.tflite_file import TFLiteFile

XNNPACK = "XNNPACK"
BUILT_IN = "built-in kernels"
_PARTITION = "DELEGATE"


class Node(NamedTuple):
    """A node of the interpreter: its name, the tensors it reads and those it writes."""

    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]


@dataclass(frozen=True)
class Delegation:
    """What became of the operators that run at every inference.

    ``asked`` is the delegate's name, or None where none was wanted; ``left`` counts by name the
    operators that stayed with the built-in kernels; ``taken_indices`` are those that did not.
    """

    asked: str | None
    operators: int
    taken: int
    partitions: int
    left: dict[str, int]
    taken_indices: tuple[int, ...]

    @property
    def label(self) -> str:
        """What a result may be called by; a delegate that took nothing is not in it."""
        if self.asked is None or self.taken == 0:
            return BUILT_IN
        if self.taken == self.operators:
            return self.asked
        return f"{self.asked} {self.taken} of {self.operators}"

    @property
    def fell_back(self) -> bool:
        """A delegate was asked for and took nothing."""
        return self.asked is not None and self.taken == 0

    def to_json(self) -> dict[str, Any]:
        """JSON types, with the label."""
        return asdict(self) | {"taken_indices": list(self.taken_indices), "label": self.label}


def delegation(file: TFLiteFile, nodes: Iterable[Node], asked: str | None) -> Delegation:
    """Read ``nodes``, the interpreter's list for ``file``, after the tensors were allocated."""
    partitions = [node for node in nodes if node.name == _PARTITION]
    taken = set().union(*(_inside(file, node) for node in partitions))
    running = working(file)
    left = Counter(op.name for op in running if op.index not in taken)
    mine = tuple(op.index for op in running if op.index in taken)
    return Delegation(
        asked, len(running), len(mine), len(partitions), dict(left.most_common()), mine
    )


def _inside(file: TFLiteFile, partition: Node) -> set[int]:
    """Operators between what a partition reads and what it writes."""
    border, found = set(partition.inputs), set()
    frontier = list(partition.outputs)
    while frontier:
        tensor = frontier.pop()
        writer = None if tensor in border else file.producer(tensor)
        if writer is not None and writer.index not in found:
            found.add(writer.index)
            frontier.extend(i for i in writer.inputs if i >= 0)
    return found
