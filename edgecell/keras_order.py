"""Whether the layers of a Keras model can be called one after another.

Keras calls each layer once what it takes is there, and tries again those that still wait, without end
where a name or a number of a call is wrong. Here the same is played through, without any layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST_LAYERS = 5_000
_NESTED = ("Functional", "Sequential", "Model")

_Call = tuple[Any, Any]


def waits_forever(config: dict[str, Any]) -> str | None:
    """The first layer of a functional model's ``config`` that never gets what it takes; None: all do.

    A config that is wrong in other ways is left to Keras, which says so.
    """
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return None
    if len(layers) > MOST_LAYERS:
        return f"number {MOST_LAYERS + 1}"
    known: dict[str, dict[str, Any]] = {}
    waiting: dict[str, list[Any]] = {}
    for layer in layers:
        name, nodes = layer.get("name"), layer.get("inbound_nodes")
        if isinstance(
            name, str
        ):  # what is no list of calls is none: who waits for them waits for ever
            known.setdefault(name, layer)
            waiting.setdefault(name, []).extend(nodes if isinstance(nodes, list) else ())
    called: set[_Call] = set()
    counts = dict.fromkeys(known, 0)
    progress = True
    while progress:
        progress = False
        for name, nodes in waiting.items():
            while nodes and all(_there(ref, known, called) for ref in _references(nodes[0])):
                nodes.pop(0)
                called |= _done(known[name], counts[name])
                counts[name] += 1
                progress = True
    return next((name for name, nodes in waiting.items() if nodes), None)


def _references(node: Any) -> Iterator[_Call]:
    """(layer, number of its call) of all that a call takes."""
    if isinstance(node, list) and len(node) >= 3 and isinstance(node[0], str):
        yield node[0], node[1]
        for rest in node[3:]:
            yield from _references(rest)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)
    elif isinstance(node, dict):
        for each in node.values():
            yield from _references(each)


def _there(reference: _Call, known: dict[str, dict[str, Any]], called: set[_Call]) -> bool:
    name, number = reference
    if name not in known or known[name].get("class_name") == "InputLayer":
        return True
    return isinstance(number, int | float) and (_own_name(known[name]), number) in called


def _own_name(layer: dict[str, Any]) -> Any:
    """The name that the layer has once it is made; it may be another one than it goes by."""
    config = layer.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return name if isinstance(name, str) else None


def _done(layer: dict[str, Any], count: int) -> set[_Call]:
    name = _own_name(layer)
    # A model within a model has been called before, on its own inputs.
    later = {(name, count + 1)} if layer.get("class_name") in _NESTED else set()
    return {(name, count), *later}
