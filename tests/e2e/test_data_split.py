"""``edgecell data split``: what it writes is what ``--data`` takes, and nothing is cut."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from easy import Run
from PIL import Image

from edgecell.config import DataConfig
from edgecell.data import SPLITS, load_dataset
from edgecell.disk import sha256_file


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Two classes of 12 patients with 1 to 5 images each, called P<patient>_<n>.png."""
    rng = np.random.default_rng(8)
    root = tmp_path / "cells"
    for label in ("blast", "normal"):
        (root / label).mkdir(parents=True)
        for patient in range(12):
            for n in range(1 + patient % 5):
                pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / label / f"P{label[0]}{patient}_{n}.png")
    return root


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def straddling(rows: list[dict[str, str]], key: str) -> set[str]:
    seen: dict[str, set[str]] = {}
    for row in rows:
        seen.setdefault(row[key], set()).add(row["split"])
    return {name for name, splits in seen.items() if len(splits) > 1}


def test_a_grouped_split_is_written_recorded_and_taken_by_data(
    edgecell: Run, cells: Path, tmp_path: Path
) -> None:
    pattern = r"(P\w+)_\d"
    done = edgecell("data", "split", cells, "--output", "out", "--group-by", pattern, "--json")
    assert done.code == 0
    rows = read(tmp_path / "out")
    assert len(rows) == 66
    assert {row["group"] for row in rows} == {f"P{c}{i}" for c in "bn" for i in range(12)}
    assert not straddling(rows, "group")
    assert {row["path"].split("/")[0] for row in rows} == {".."}

    record = json.loads(done.out)
    assert record == json.loads((tmp_path / "out/record.json").read_text())
    assert record["outputs"] == {"split.csv": sha256_file(tmp_path / "out/split.csv")}
    assert record["config"]["group_by"] == pattern
    results = record["results"]
    for name in SPLITS:
        inside = [row for row in rows if row["split"] == name]
        assert results["counts"][name] == [
            sum(row["label"] == label for row in inside) for label in ("blast", "normal")
        ]
        assert results["groups"][name] == len({row["group"] for row in inside})
        assert results["images"][name] == len(inside)
    assert str(tmp_path) not in json.dumps(record)

    dataset = load_dataset(DataConfig(str(tmp_path / "out/split.csv"), strict_splits=True))
    assert [len(dataset.split(s)) for s in SPLITS] == [results["images"][s] for s in SPLITS]
    assert dataset.class_names == ("blast", "normal")
    # 33 images a class, the largest patient 5: within one patient of the wanted share.
    for name, share in (("val", 0.1), ("test", 0.2)):
        assert abs(results["images"][name] - share * 66) <= 5

    # The partner: without groups the same patients are on both sides.
    assert edgecell("data", "split", cells, "--output", "plain").code == 0
    plain = read(tmp_path / "plain")
    assert "group" not in plain[0]
    for row in plain:
        row["patient"] = Path(row["path"]).name.split("_")[0]
    assert len(straddling(plain, "patient")) > 5


def test_the_seed_decides_and_a_table_shows_it(edgecell: Run, cells: Path, tmp_path: Path) -> None:
    shown = edgecell("data", "split", cells, "--output", "a", "--group-by", r"(P\w+)_", "--seed", 1)
    assert "24 groups, the largest of 5 images; none is cut" in shown.out
    assert "for --data: a/split.csv" in shown.out
    edgecell("data", "split", cells, "--output", "b", "--group-by", r"(P\w+)_", "--seed", 1)
    edgecell("data", "split", cells, "--output", "c", "--group-by", r"(P\w+)_", "--seed", 2)
    one, same, other = ((tmp_path / f / "split.csv").read_bytes() for f in "abc")
    assert one == same != other


def test_exact_copies_never_straddle_even_between_groups(
    edgecell: Run, cells: Path, tmp_path: Path
) -> None:
    for patient in range(11):  # each patient's first image again under the next patient's name
        shutil.copy(cells / f"blast/Pb{patient}_0.png", cells / f"blast/Pb{patient + 1}_9.png")
    refused = edgecell("data", "split", cells, "--output", "out", "--group-by", r"(P\w+)_")
    assert refused.code == 3  # the chain makes one group of the whole class
    assert "too few groups to make 3 splits of: 'blast' 1" in refused.err
    assert not (tmp_path / "out").exists()
    for patient in (4, 8):  # cut the chain into three
        (cells / f"blast/Pb{patient}_9.png").unlink()
    for extra in (["--group-by", r"(P\w+)_"], []):
        assert edgecell("data", "split", cells, "--output", "out", *extra).code == 0
        rows = read(tmp_path / "out")
        for row in rows:
            row["content"] = sha256_file(tmp_path / "out" / row["path"])
        assert Counter(row["content"] for row in rows).most_common(1)[0][1] == 2
        assert not straddling(rows, "content")
        if extra:
            assert {row["group"] for row in rows if row["label"] == "blast"} == {
                "Pb0",
                "Pb4",
                "Pb8",
            }


def test_given_splits_are_kept_unless_pooled(edgecell: Run, cells: Path, tmp_path: Path) -> None:
    root = tmp_path / "given"
    for label in ("blast", "normal"):
        for path in (cells / label).iterdir():
            part = "test" if "11_" in path.name or "10_" in path.name else "train"
            (root / part / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / part / label)
    arguments = ["data", "split", root, "--group-by", r"(P\w+)_"]
    assert edgecell(*arguments, "--output", "kept").code == 0
    kept = read(tmp_path / "kept")
    assert {row["group"] for row in kept if row["split"] == "test"} == {
        "Pb10",
        "Pb11",
        "Pn10",
        "Pn11",
    }
    assert "val" in {row["split"] for row in kept}
    assert edgecell(*arguments, "--output", "pooled", "--pool").code == 0
    pooled = {row["group"] for row in read(tmp_path / "pooled") if row["split"] == "test"}
    assert pooled != {"Pb10", "Pb11", "Pn10", "Pn11"}

    shutil.copy(root / "test/blast/Pb10_0.png", root / "train/blast/Pb10_7.png")
    refused = edgecell(*arguments, "--output", "none")
    assert refused.code == 3
    assert "groups in more than one split: 1 (for example 'Pb10' in train and test)" in refused.err
    refused = edgecell("data", "split", root, "--output", "none")
    assert refused.code == 3
    assert "is an exact copy of train/blast/Pb10_7.png in train" in refused.err
    assert not (tmp_path / "none").exists()
    assert edgecell(*arguments, "--output", "none", "--pool").code == 0


def test_a_csv_is_split_by_its_own_groups_or_another_table(
    edgecell: Run, cells: Path, tmp_path: Path
) -> None:
    files = sorted(cells.rglob("*.png"))
    lines = [f"{p.relative_to(tmp_path)},{p.parent.name},{p.name.split('_')[0]}" for p in files]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,patient", *lines]))
    assert edgecell("data", "split", "t.csv", "--output", "own", "--test", "0").code == 0
    own = read(tmp_path / "own")
    assert {row["split"] for row in own} == {"train", "val"}
    assert not straddling(own, "group")
    wards = ["file,group", *(f"{p.name},{int(p.name.split('_')[0][2:]) % 4}" for p in files)]
    (tmp_path / "wards.csv").write_text("\n".join(wards))
    done = edgecell(
        "data", "split", "t.csv", "--output", "other", "--group-by", "wards.csv", "--json"
    )
    assert {row["group"] for row in read(tmp_path / "other")} == {"0", "1", "2", "3"}
    assert set(json.loads(done.out)["inputs"]) == {"data:t", "t.csv", "wards.csv"}


def test_a_table_that_is_read_is_not_replaced(edgecell: Run, cells: Path, tmp_path: Path) -> None:
    lines = ["path,label,patient"]
    lines += [f"{p},{p.parent.name},{p.name.split('_')[0]}" for p in sorted(cells.rglob("*.png"))]
    for folder in ("mine", "link"):
        (tmp_path / folder).mkdir()
    mine = tmp_path / "mine/split.csv"
    mine.write_text("\n".join(lines))
    (tmp_path / "link/split.csv").symlink_to(mine)
    for source, extra in (("mine/split.csv", ()), ("cells", ("--group-by", "mine/split.csv"))):
        for output in ("mine", "link"):
            refused = edgecell("data", "split", source, "--output", output, *extra)
            assert refused.code == 2
            assert "would replace the table mine/split.csv that is read" in refused.err
            assert "choose another --output" in refused.err
            assert mine.read_text() == "\n".join(lines)
            assert not (tmp_path / output / "record.json").exists()


def test_the_record_vouches_for_what_was_read(
    edgecell: Run, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{p},{p.parent.name}" for p in sorted(cells.rglob("*.png"))]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    before = sha256_file(tmp_path / "t.csv")

    def write(path: Path, text: str) -> None:
        (tmp_path / "t.csv").write_text("another table")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    monkeypatch.setattr("edgecell.disk.atomic_write_text", write)
    assert edgecell("data", "split", "t.csv", "--output", "out").code == 0
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert record["inputs"]["t.csv"] == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cells", "--group-by", r"\.png"], 3, "too few groups to make 3 splits of: 'blast' 1"),
        (["cells", "--group-by", "("], 2, "is not a regular expression"),
        (["cells", "--group-by", ".*"], 3, "groups nothing: it finds 66 groups in 66 images"),
        (["cells", "--val", "0", "--test", "0"], 2, "no other split is asked for"),
        (["cells", "--val", "-0.1"], 2, "--val is -0.1; allowed: 0 (no such split) or 0.01 to 0.9"),
        (["cells", "--val", "0.5", "--test", "0.5"], 2, "leave too little for train"),
        (["gone"], 3, "cannot split gone: no such folder or CSV"),
        (["gone.csv"], 3, "no table at gone.csv"),
        (["x.npz"], 3, "an .npz holds its splits itself"),
        (["cells", "--columns", "label=a"], 2, "--columns is for a CSV; cells is a folder"),
    ],
)
def test_what_cannot_be_split_is_refused(
    edgecell: Run, cells: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    refused = edgecell("data", "split", *arguments, "--output", "out")
    assert refused.code == code
    assert message in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
