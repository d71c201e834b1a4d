"""The chain of custody: records under the audit, and bundles as zips."""

from __future__ import annotations

import io
import json
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecell.bundle.custody import audit_bundle
from edgecell.bundle.reader import open_bundle
from edgecell.errors import ArtifactError
from edgecell.pipeline.auditing import audit
from edgecell.record import seal
from edgecell.rundir import RunDir

from . import mutate
from .harness import SilentAcceptance
from .kind_texts import RELEASED
from .kind_tflite import SEEDS

Say = Callable[[str], None]
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Audit:
    """A run of two stages: one of its records is changed, or a file that they vouch for."""

    name = "audit"

    def prepare(self, folder: Path) -> None:
        """Records with the results of a released run, over files of a few bytes."""
        self.run = RunDir(folder / "run")
        shutil.rmtree(self.run.path, ignore_errors=True)
        shutil.copytree(RELEASED, self.run.path, ignore=_only_config)
        model = self._file("train/model.keras", b"weights")
        self._record("train", [], [model])
        outputs = [self._file(f"quantize/{name}", name.encode()) for name in ("a.tflite", "b.json")]
        self._record("quantize", [model], outputs)
        self.names = ["train/record.json", "quantize/record.json", "quantize/b.json", "config.toml"]
        self.texts = [(self.run.path / name).read_bytes() for name in self.names]
        self.trees = [json.loads(text) for text in self.texts[:2]]
        self.words = ["../../x", "/etc/passwd", "train/model.keras", "quantize", "0" * 64, {}, []]
        assert audit(self.run.path).broken == []

    def make(self, rand: random.Random) -> bytes:
        """A byte that says which file, then its content; records mostly by their structure."""
        which = rand.choice((0, 0, 1, 1, 1, 2, 3))
        if which > 1 or rand.random() < 0.4:
            return bytes([which]) + mutate.mutated(rand, self.texts[which], self.texts)
        return bytes([which]) + _changed(rand, self.trees[which], self.words)

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """What is not the same as before is to be found; a record without its seal is a note."""
        which = data[0]
        path = self.run.path / self.names[which]
        path.write_bytes(data[1:])
        try:
            found = audit(self.run.path)
        finally:
            path.write_bytes(self.texts[which])
        if found.findings:
            raise ArtifactError(found.findings[0].kind)
        if not self._is_as_before(which, data[1:]):
            raise SilentAcceptance(
                f"{self.names[which]} is another one, and the audit finds nothing"
            )

    def _is_as_before(self, which: int, data: bytes) -> bool:
        if which == 3:  # comments and what the training does not depend on
            return True
        if which == 2:
            return data == self.texts[which]
        return bool(json.loads(data) == self.trees[which])

    def _file(self, name: str, content: bytes) -> Path:
        path = self.run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _record(self, verb: str, inputs: list[Path], outputs: list[Path]) -> None:
        released = RunDir(RELEASED).read_record(verb)
        settings, results = released["config"], released["results"]
        self.run.write_record(
            verb, inputs=inputs, outputs=outputs, config=settings, results=results
        )


class Zips:
    """Bundles as zips: bytes of the zip, its members, and what model.json says."""

    name = "bundle"

    def prepare(self, folder: Path) -> None:
        """A toy's bundle, sealed."""
        self.zip = (SEEDS / "toy.zip").read_bytes()
        with zipfile.ZipFile(io.BytesIO(self.zip)) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        [self.manifest] = [name for name in self.members if name.endswith("model.json")]
        self.card = json.loads(self.members[self.manifest])
        [model] = [name for name in self.members if name.endswith(".tflite")]
        self.model = self.members[model]
        self.words = [
            "../../x",
            "/etc/passwd",
            "model.tflite",
            "labels.txt",
            "0" * 64,
            {},
            [],
            None,
        ]
        path = folder / "sound.zip"
        path.write_bytes(self.zip)
        assert audit_bundle(path).findings == []
        open_bundle(path)

    def make(self, rand: random.Random) -> bytes:
        """A third bytes of the zip; else a member, a name or the card, half of those sealed anew."""
        what = rand.random()
        if what < 0.3:
            return mutate.mutated(
                rand, self.zip, [self.zip], [b"PK\x03\x04", b"PK\x01\x02", b"\xff" * 8]
            )
        members = dict(self.members)
        if what < 0.7:
            sealed = rand.random() < 0.5
            members[self.manifest] = _changed(rand, self.card, self.words, sealed=sealed)
        elif what < 0.9:
            name = rand.choice(sorted(members))
            members[name] = mutate.mutated(rand, members[name], list(members.values()))
        else:
            strange = (
                "../evil.py",
                "/etc/x",
                "a/../../b",
                "x\0y",
                "golden",
                "model.json/x",
                "C:\\x",
            )
            members[rand.choice(strange)] = rand.choice((b"", b"import os", b"\0" * 10**6))
        return _zipped(members, rand.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As ``audit`` and ``predict`` read it; nothing that differs may pass the audit as it was."""
        path = folder / "stranger.zip"
        path.write_bytes(data)
        found = audit_bundle(path)
        bundle = open_bundle(path)
        if found.findings:
            raise ArtifactError(found.findings[0].kind)
        if bundle.card["seal"] != seal(bundle.card):
            raise SilentAcceptance("model.json is another one under a seal that is not its own")
        if bundle.card == self.card and bundle.model != self.model:
            raise SilentAcceptance("another model passes under the same model.json")


def _only_config(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name != "config.toml"]


def _changed(rand: random.Random, tree: Any, words: list[Any], *, sealed: bool = False) -> bytes:
    """A tree with changes as JSON, under a seal that fits if it is to be ``sealed``."""
    try:
        changed = mutate.tree(rand, tree, words)
        if sealed and isinstance(changed, dict):
            changed["seal"] = seal(changed)
        return json.dumps(changed).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError):  # ours, of something nested 3,000 deep, or of no number
        return b'{"a":' * 3000 + b"1" + b"}" * 3000


def _zipped(members: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", way) as archive:
        warnings.simplefilter("ignore")
        for name, body in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = way
            archive.writestr(info, body)
    return stream.getvalue()
