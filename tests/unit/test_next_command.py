"""The command that a verb says to go on with can be pasted, whatever its folders are called."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edgecell.cli import show, show_quantization

RUN = Path("runs/Zellen (Süd) 'neu'")
LAYER = {
    **{"label": "a", "operator": "CONV_2D", "weights": 9, "sqnr_db": 9.0},
    **{"probability_error": 0.1, "agreement_drop": 0.0, "accuracy_drop": 0.0},
}


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("next:"))
    return shlex.split(line)[1:]


def test_the_folder_of_a_run_stays_one_word(capsys):
    show.quantized({"results": {"models": []}}, RUN / "quantize")
    assert said(capsys) == ["edgecell", "verify", str(RUN)]


def test_flags_behind_it_stay_words_of_their_own(capsys):
    show_quantization.analyzed({"results": {"n": 8, "layers": [LAYER]}}, RUN / "quantize")
    assert said(capsys) == ["edgecell", "quantize", str(RUN), "--keep-float", "auto"]
