"""The chain of custody of a run: every record walked, every hash computed anew."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from edgecell import former
from edgecell.config import Config
from edgecell.config_file import load_config
from edgecell.disk import TEMPORARY, read_json, sha256_file
from edgecell.errors import ArtifactError, ConfigError
from edgecell.record import check_envelope, is_inside, seal
from edgecell.rundir import TRAINED, VERBS

Kind = Literal["altered", "missing", "stale", "foreign", "unfinished", "leftover", "note"]
BROKEN: tuple[Kind, ...] = ("altered", "missing", "stale")
"""With one of these the chain does not hold; the others are said and do no harm."""

RECORD, CONFIG, MANIFEST = former.RECORD, "config.toml", "model.json"
# Made from records at any time, or the inner state of a study: nothing is read from them again.
_DERIVED = ("report.html", "report.xlsx", "MODEL_CARD.md", "MODEL_CARD.html", "trial.json")
_STUDY = re.compile(r"study\.(db|journal)([.-].*)?")
_SERVICE = re.compile(r"\.(.*\.)?lock|\.folder|\.study")


@dataclass(frozen=True)
class Finding:
    """One thing that was found: what kind, at which path of what was audited, and one line on it."""

    kind: Kind
    path: str
    said: str


@dataclass
class Custody:
    """What an audit found; ``files`` were hashed and are as recorded, ``records`` were read."""

    records: int = 0
    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[Finding]:
        """The findings with which the chain does not hold."""
        return [finding for finding in self.findings if finding.kind in BROKEN]

    def add(self, kind: Kind, path: str, said: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, path, said))

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "holds": not self.broken,
            "records": self.records,
            "files": self.files,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class _Stage:
    """A record: ``home`` is the folder that its names start from, relative to what is audited."""

    folder: str
    home: str
    data: dict[str, Any]

    @property
    def verb(self) -> str:
        return str(self.data["verb"])

    def named(self, part: str) -> Iterator[tuple[str, str]]:
        """(path relative to what is audited, recorded sha256) of "inputs" or "outputs"."""
        for name, digest in self.data[part].items():
            yield _join(self.home, name), str(digest)


def audit_run(top: Path) -> Custody:
    """Walk the records at and below ``top``: a run, a sweep, a study, or another folder with records.

    Files that a killed process had replaced before its record was there are put back first.

    ``bundles`` of the result are the folders and zips that look like bundles and lie under ``top``.

    Raises:
        ArtifactError: no folder, no record in it, a stage of a run instead of the run, or a file that
            cannot be read.
    """
    if not top.is_dir():
        raise ArtifactError(f"no run folder or bundle at {top}")
    former.put_back(top)
    found = Custody()
    paths = _files(top)
    stages = list(_stages(top, paths, found))
    if not found.records:
        raise ArtifactError(
            f"{top} holds no record and is no bundle; give a run folder, or a bundle's folder or zip"
        )
    outputs = _produced(stages)
    bad = _check_outputs(top, outputs, found)
    for stage in stages:
        _check_inputs(top, stage, outputs, bad, found)
    for home in sorted({stage.home for stage in stages}):
        _check_settings(top, home, stages, found)
        _check_reference(home, stages, found)
    _account_for(paths, stages, outputs, found)
    found.bundles = _bundles(paths)
    return found


def _join(home: str, name: str) -> str:
    return name if home == "." else f"{home}/{name}"


def _files(top: Path) -> list[str]:
    """Every file below ``top`` by its path, links among them; linked folders are not entered."""
    found = []
    for folder, folders, files in os.walk(top):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        found += [(here / name).relative_to(top).as_posix() for name in (*files, *links)]
    return sorted(found)


def _bundles(paths: list[str]) -> list[str]:
    """Folders with a model.json, but for those inside another such folder, and zips outside of them."""
    folders = {PurePosixPath(path).parent for path in paths if PurePosixPath(path).name == MANIFEST}
    candidates = folders | {PurePosixPath(path) for path in paths if path.endswith(".zip")}
    return sorted(str(path) for path in candidates if not folders & set(path.parents))


def _stages(top: Path, paths: list[str], found: Custody) -> Iterator[_Stage]:
    for path in paths:
        if PurePosixPath(path).name != RECORD:
            continue
        found.records += 1
        stage = _stage(top, path, found)
        if stage is not None:
            yield stage


def _stage(top: Path, path: str, found: Custody) -> _Stage | None:
    try:
        data = read_json(top / path)
        verb = data.get("verb") if isinstance(data, dict) else None
        check_envelope(data, str(verb), path)
        sealed = data.get("seal")
        fits = sealed is None or sealed == seal(data)
    except (ArtifactError, RecursionError, ValueError) as error:
        found.add("altered", path, f"is no record that can be read ({error})")
        return None
    names = [name for part in ("inputs", "outputs") for name in data[part]]
    outside = [name for name in names if not is_inside(name)]
    if outside:
        found.add("altered", path, f"names a file outside its run: {outside[0]}")
        return None
    if not fits:
        found.add("altered", path, "was altered: its seal is not that of its content")
    elif sealed is None:
        found.add(
            "note", path, "has no seal (made by an older edgecell): its own text is not vouched for"
        )
    folder = PurePosixPath(path).parent
    parts, own = folder.parts, PurePosixPath(str(verb)).parts
    if len(parts) < len(own):
        _refuse_stage(top, parts, own, data)
    if parts[-len(own) :] == own:
        home = PurePosixPath(*parts[: -len(own)]).as_posix()
    elif folder.name in VERBS:
        found.add(
            "altered", path, f"is the record of '{verb}', and lies in the folder of '{folder.name}'"
        )
        return None
    else:
        home = folder.as_posix()  # bundle --output DIR writes its record at the top
    return _Stage(folder.as_posix(), home, data)


def _refuse_stage(
    top: Path, parts: tuple[str, ...], own: tuple[str, ...], data: dict[str, Any]
) -> None:
    """Refuse ``top`` where the record in its ``parts`` is of a run above it, as its names tell."""
    verb, whole = "/".join(own), top.resolve()
    in_run = any(name.startswith(f"{verb}/") for name in data["outputs"])
    if in_run and (*whole.parts, *parts)[-len(own) :] == own:
        run = whole.parents[len(own) - len(parts) - 1]
        raise ArtifactError(
            f"{top} is the '{verb}' of a run, whose stages vouch for one another; give the run"
            f" folder: edgecell audit {run}"
        )


def _produced(stages: list[_Stage]) -> dict[str, tuple[str, str]]:
    """Path → (sha256, verb) of what stages wrote; of two that wrote the same file, the later."""
    produced: dict[str, tuple[str, str]] = {}
    for stage in sorted(stages, key=lambda stage: str(stage.data.get("created"))):
        produced |= {path: (digest, stage.verb) for path, digest in stage.named("outputs")}
    return produced


def _check_outputs(
    top: Path, outputs: dict[str, tuple[str, str]], found: Custody
) -> dict[str, str]:
    """Note what is missing or altered; the paths that are, with their sha256 ("" for none)."""
    bad = {}
    for path, (digest, verb) in sorted(outputs.items()):
        there = _hash(top, path)
        if there == digest:
            found.files += 1
            continue
        bad[path] = there
        if there:
            found.add("altered", path, _differs(there, digest, verb))
        else:
            found.add("missing", path, f"is missing; '{verb}' wrote it")
    return bad


def _check_inputs(
    top: Path,
    stage: _Stage,
    outputs: dict[str, tuple[str, str]],
    bad: dict[str, str],
    found: Custody,
) -> None:
    """Is a stage still made from the files that are there?"""
    for path, digest in stage.named("inputs"):
        name = path if stage.home == "." else path.removeprefix(f"{stage.home}/")
        if "/" not in name or name.startswith("data:"):
            continue  # from elsewhere, by its bare name, or images by their fingerprint
        if path in outputs:
            written, maker = outputs[path]
            if written != digest:
                found.add(
                    "stale",
                    f"{stage.folder}/{RECORD}",
                    f"'{stage.verb}' read another {name} (sha256 {digest[:12]}…) than the one that"
                    f" '{maker}' wrote (sha256 {written[:12]}…); run 'edgecell {stage.verb}' again",
                )
        elif path not in bad:
            there = _hash(top, path)
            if not there:
                found.add("missing", path, f"is missing; '{stage.verb}' read it")
            elif there != digest:
                found.add("altered", path, _differs(there, digest, stage.verb))
            else:
                continue  # another stage may have read another content
            bad[path] = there


def _check_settings(top: Path, home: str, stages: list[_Stage], found: Custody) -> None:
    """config.toml and the images of each stage against those of the training."""
    mine = [stage for stage in stages if stage.home == home]
    trained = next((stage for stage in mine if stage.verb == "train"), None)
    if trained is None:
        return
    path = _join(home, CONFIG)
    try:
        config = load_config(top / path)
    except (ConfigError, ArtifactError) as error:
        found.add("altered", path, f"cannot be read ({error})")
    else:
        known, usual = asdict(config), asdict(Config())
        for part, recorded in trained.data["config"].items():
            if not isinstance(recorded, dict):
                said = f"was altered: its settings of {part!r} are no table"
                found.add("altered", f"{trained.folder}/{RECORD}", said)
                continue
            ours = known.get(part, {})
            for key, value in ours.items() if isinstance(ours, dict) else ():
                # What a record does not name was as it is without being asked for.
                had = recorded.get(key, usual[part][key])
                if (part, key) != ("train", "strategy") and _plain(value) != _plain(had):
                    said = f"says {part}.{key} = {value!r}, the training had {had!r}"
                    found.add("altered", path, said)
    seen = {n: d for n, d in trained.data["inputs"].items() if n.startswith("data:")}
    for stage in mine:
        for name, digest in stage.data["inputs"].items():
            base = ":".join(name.split(":")[:2])
            if base in seen and seen[base] != digest:
                said = f"'{stage.verb}' saw other images of {base[5:]} than the training"
                found.add("stale", f"{stage.folder}/{RECORD}", said)


def _check_reference(home: str, stages: list[_Stage], found: Custody) -> None:
    """Is what verify compared with, which may be a file from elsewhere, the model that was trained?"""
    mine = {stage.verb: stage for stage in stages if stage.home == home}
    if not mine.keys() >= {"train", "verify"}:
        return
    trained, verified = mine["train"].data["outputs"].get(TRAINED), mine["verify"]
    inputs = verified.data["inputs"]
    if trained is not None and TRAINED not in inputs and trained not in inputs.values():
        said = f"'verify' compared with another model than {TRAINED}; run 'edgecell verify' again"
        found.add("stale", f"{verified.folder}/{RECORD}", said)


def _plain(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, (tuple, list)) else value


def _account_for(
    paths: list[str],
    stages: list[_Stage],
    outputs: dict[str, tuple[str, str]],
    found: Custody,
) -> None:
    """Note the files that no record vouches for."""
    homes = {stage.home for stage in stages}
    finished = {stage.folder for stage in stages}
    read = {path for stage in stages for path, _ in stage.named("inputs")}
    unfinished: set[str] = set()
    for path in paths:
        pure = PurePosixPath(path)
        above = [parent.as_posix() for parent in pure.parents]
        if (
            path in outputs
            or path in read
            or pure.name == RECORD
            or any(p in outputs for p in above)
        ):
            continue
        if pure.name.endswith(former.SUFFIX):
            continue  # of a process that is at work
        if any(part.startswith(".") and part.endswith(TEMPORARY) for part in pure.parts):
            found.add("leftover", path, "was left half-written by a process that was killed")
        elif _is_known(pure, homes):
            continue
        elif stage := _without_record(above, finished):
            unfinished.add(stage)
        elif pure.name not in _DERIVED:
            found.add("foreign", path, "is vouched for by no record")
    for stage in sorted(unfinished):
        found.add("unfinished", stage, "has no record: its stage did not finish")


def _is_known(path: PurePosixPath, homes: set[str]) -> bool:
    """Whether a file is a lock, a study, or a run's configuration, none of which a record lists."""
    if _SERVICE.fullmatch(path.name) or any(_STUDY.fullmatch(part) for part in path.parts):
        return True
    if path.name != CONFIG:
        return False
    run = path.parent
    # A trial that was given up or is repeated as another, and a network that was, have no record.
    given_up = run.parent.name in ("trials", "networks") and run.parent.parent.as_posix() in homes
    return run.as_posix() in homes or given_up


def _without_record(above: list[str], finished: set[str]) -> str:
    """The stage folder among a file's parents, where it has no record; else ""."""
    if any(parent in finished and parent != "." for parent in above):
        return ""
    return next((parent for parent in above if PurePosixPath(parent).name in VERBS), "")


def _hash(top: Path, path: str) -> str:
    """sha256 of a file or folder; "" where there is none, or no regular one."""
    there = top / path
    return sha256_file(there) if there.is_file() or there.is_dir() else ""


def _differs(there: str, recorded: str, verb: str) -> str:
    return f"was altered: sha256 {there[:12]}…, '{verb}' recorded {recorded[:12]}…"
