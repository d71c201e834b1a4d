"""The peers there are, by the name they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.peers import keras_plain, onnx_runtime, open_vino
from benchmarks.peers.interface import Absent, Candidate, Material
from edgecell.errors import ConfigError

PEERS: dict[str, Callable[[Material], list[Candidate | Absent]]] = {
    "onnxruntime": onnx_runtime.candidates,
    "openvino": open_vino.candidates,
    "keras": keras_plain.candidates,
}


def parse_names(text: str) -> tuple[str, ...]:
    """`onnxruntime,keras` as names; empty means all.

    Raises:
        ConfigError: no such peer.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ConfigError(f"no peer '{unknown[0]}'; allowed: {', '.join(PEERS)}")
    return tuple(dict.fromkeys(names)) or tuple(PEERS)


def gather(
    names: Sequence[str], material: Material, say: Callable[[str], None]
) -> tuple[list[Candidate], list[Absent]]:
    """What the peers of these names have, and what they have not."""
    found: list[Candidate] = []
    absent: list[Absent] = []
    for name in names:
        say(f"making {name}")
        for each in PEERS[name](material):
            if isinstance(each, Candidate):
                found.append(each)
            else:
                absent.append(each)
    return found, absent
