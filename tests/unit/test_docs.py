"""The user documentation says nothing that is not so: commands, flags, links, and the app example."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
import yaml
from pages import command_lines, complaints, leaves, undocumented, wrong_calls
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_right(page: Path) -> None:
    assert complaints(page, REPOSITORY) == []


def test_every_command_has_its_page_or_section() -> None:
    assert undocumented(DOCS) == []


def test_the_index_links_to_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w-]+\.md)", index))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked
    rows = [line.split("|")[1] for line in index.splitlines() if line.startswith("| [")]
    assert len(set(rows)) == len(rows)


def test_every_command_is_shown_in_use() -> None:
    """Of each command there is an example in a shell block of its own page."""
    for words in leaves():
        lines = command_lines((DOCS / f"{words[0]}.md").read_text(encoding="utf-8"))
        call = " ".join(["edgecell", *words])
        assert any(re.search(rf"\b{call}(?![\w-])", line) for line in lines), call


GOOD = """# Title of it

```sh
edgecell train --data cells --image-size 96   # a remark
edgecell evaluate runs/cells \\
    --split test
EDGECELL_VERBOSE=1 edgecell doctor
docker build -t edgecell .
docker run --rm -v "$PWD:/work" edgecell demo
edgecell recipes synthetic > mine.toml
cd runs && edgecell report cells
```

See [above](#title-of-it), `edgecell quantize RUN --int8 …` and `--margin 0.01`; train/val/test, 1/128,
[a page](https://example.org/a/b), `edgecell/preprocess.py`, `--class-weights/--no-class-weights`.
"""


def page(folder: Path, text: str) -> list[str]:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return complaints(path, REPOSITORY)


def test_the_checker_likes_a_page_that_is_right(tmp_path: Path) -> None:
    assert page(tmp_path, GOOD) == []


def block(line: str) -> str:
    return f"Words.\n\n```sh\n{line}\n```\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (block("edgecell trian --data cells"), "no command 'trian'"),
        (block("edgecell data shwo"), "no command 'data shwo'"),
        (block("edgecell"), "no command ''"),
        (block("edgecell train --data cells --epoch 3"), "--epoch"),
        (block("edgecell train \\\n  --data cells --epoch 3"), "--epoch"),
        (block("edgecell train --epochs many"), "'many' is not a valid integer"),
        (block("edgecell train --epochs -3"), "train.epochs is -3"),
        (block("edgecell train --alpha 0.36"), "--alpha"),
        (block("edgecell evaluate"), "Missing argument"),
        (block("edgecell evaluate run another"), "unexpected extra argument"),
        (block("ls && edgecell report runs/cells --pdf"), "--pdf"),
        (block("X=1 edgecell report runs/cells --pdf"), "--pdf"),
        (block("python -m edgecell report runs/cells --pdf"), "--pdf"),
        (block("docker run --rm edgecell dmeo"), "no command 'dmeo'"),
        ("Say `edgecell verfy RUN` now.", "no command 'verfy'"),
        ("Say `edgecell verify RUN --magrin …`.", "edgecell verify has no --magrin"),
        ("Say `edgecell verify RUN --qat`: another verb's flag.", "edgecell verify has no --qat"),
        ("Say `--magrin 0.01`.", "has no --magrin"),
        ("Say `--flip/--no-flap`.", "has no --no-flap"),
        ("```toml\n[verify]\nmax_f1drop = 0.1\n```\n", "did you mean 'verify.max_f1_drop'"),
        ('```toml\n[space]\n"train.epoch" = [3, 4]\n```\n', "unknown setting 'train.epoch'"),
        ("```bash\nedgecell report runs/cells\n```\n", "a block of 'bash'"),
        ("```sh\nedgecell report runs/cells\n", "a block that has no end"),
        ("See [this](nowhere.md).", "no such file"),
        ("See ![this](nowhere.png).", "no such file"),
        ("# One\n\nSee [this](#two).", "no such heading"),
        ("The folder `/home/me/cells`.", "/home is an absolute path"),
        (block("edgecell train --data /data/cells"), "/data is an absolute path"),
        ("On C:\\Users it is another.", "is an absolute path"),
        ("As `edgecell/preprocessing.py` does.", "there is no edgecell/preprocessing.py"),
    ],
)
def test_the_checker_finds_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    found = page(tmp_path, text)
    assert len(found) >= 1
    assert said in found[0]


def test_a_verb_s_page_speaks_of_its_own_flags(tmp_path: Path) -> None:
    (tmp_path / "bench.md").write_text("`--runs 50`, `edgecell train --epochs 3`, `--epochs 3`")
    [found] = complaints(tmp_path / "bench.md", REPOSITORY)
    assert "edgecell bench has no --epochs" in found


def test_missing_and_stale_pages_are_found(tmp_path: Path) -> None:
    for path in DOCS.glob("*.md"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "verify.md").unlink()
    data = tmp_path / "data.md"
    data.write_text(data.read_text(encoding="utf-8").replace("## edgecell data fetch", "## Fetch"))
    (tmp_path / "old.md").write_text("# edgecell old\n")
    assert undocumented(tmp_path) == [
        "verify.md has no heading 'edgecell verify'",
        "data.md has no heading 'edgecell data fetch'",
        "old.md has the heading 'edgecell old', which is no command",
    ]


def test_the_ci_example_calls_what_there_is() -> None:
    text = (DOCS / "ci-example.yml").read_text(encoding="utf-8")
    [job] = yaml.safe_load(text)["jobs"].values()
    lines = [line for step in job["steps"] for line in step.get("run", "").strip().splitlines()]
    calls = [line for line in lines if line.startswith("edgecell ")]
    assert [line.split()[1] for line in calls] == ["verify", "bench"]
    assert "--against" in calls[1]
    assert [wrong for line in calls for wrong in wrong_calls(line)] == []
    [wrong] = wrong_calls(calls[1].replace("--max-regress", "--max-regres"))
    assert "No such option '--max-regres'" in wrong


def example() -> str:
    """The Python of the tutorial."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    [found] = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return found


def test_the_app_gets_the_file_that_was_calibrated_and_tested() -> None:
    """From the threshold on it is one file: what is bundled, run by hand and compared is the same."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    step = text.split("## 12. Into the app")[1]
    named = set(re.findall(r"[\w/-]+-int8[\w-]*\.tflite", step))
    assert named == {"runs/cells/quantize/cells-int8-search.tflite"}
    assert any(f"edgecell bundle {next(iter(named))}" in line for line in command_lines(step))
    for title in ("## 9. ", "## 11. "):
        assert "cells-int8-search.tflite" in text.split(title)[1].split("\n## ")[0]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a program on a photograph, beside a run of the toy; what it prints, and edgecell's own answer."""
    import toys

    from edgecell.preprocess import PreprocessSpec, decode_file, resize
    from edgecell.runtime import TFLitePredictor

    monkeypatch.chdir(tmp_path)
    Path("runs/cells/quantize").mkdir(parents=True)
    Path("runs/cells/train").mkdir()
    file = Path("runs/cells/quantize/cells-int8-search.tflite")
    file.write_bytes(toys.converted("int8"))
    record = {"results": {"class_names": list(toys.CLASSES)}}
    Path("runs/cells/train/record.json").write_text(json.dumps(record))
    model = TFLitePredictor(file)
    turned = Image.Exif()
    turned[0x0112] = 6  # photographed with the phone held upright

    def answers(program: str) -> list[tuple[str, str]]:
        pairs = []
        for pixels, name in zip(toys.images(4, seed=9)[0], toys.CLASSES, strict=True):
            photograph = Image.fromarray(pixels).resize((61, 37), Image.Resampling.NEAREST)
            photograph.save("cell.png", exif=turned)
            shown = io.StringIO()
            with contextlib.redirect_stdout(shown):
                exec(compile(program, "tutorial.md", "exec"), {})
            seen = resize(decode_file(Path("cell.png")), PreprocessSpec(toys.SIZE, toys.SIZE))
            [expected] = model.predict(seen[None])
            assert toys.CLASSES[int(expected.argmax())] == name
            pairs.append((shown.getvalue(), f"{name} {expected.max():.3f}\n"))
        return pairs

    return answers


def test_the_app_example_answers_as_edgecell_does(app) -> None:
    assert len(example().splitlines()) <= 16
    assert all(shown == expected for shown, expected in app(example()))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("Resampling.BILINEAR", "Resampling.NEAREST"), ("/ 256", "/ 255"), ("argmax", "argmin")],
)
def test_another_example_would_answer_otherwise(app, right: str, wrong: str) -> None:
    changed = example().replace(right, wrong)
    assert changed != example()
    assert any(shown != expected for shown, expected in app(changed))
