"""edgecell audit on a run, and on a bundle of it that was signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from easy import Run

RELEASED = Path(__file__).resolve().parents[2] / "artifacts/pbc28"


@pytest.fixture
def run_copy(tmp_path: Path) -> Path:
    """The released run; nothing is trained or converted here."""
    return Path(shutil.copytree(RELEASED, tmp_path / "run"))


def test_a_run_holds_and_a_changed_model_does_not(edgecell: Run, run_copy: Path) -> None:
    whole = edgecell("audit", run_copy)
    assert whole.code == 0, whole.out
    assert "altered" not in whole.out
    assert "7 records" in whole.out
    model = run_copy / "quantize/pbc28-int8-search.tflite"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    broken = edgecell("audit", run_copy)
    assert broken.code == 6
    assert "altered    quantize/pbc28-int8-search.tflite: was altered" in broken.out
    assert broken.err.strip().endswith("1 altered")
    told = json.loads(edgecell("audit", run_copy, "--json").out)
    assert [each["path"] for each in told["findings"] if each["kind"] == "altered"] == [
        "quantize/pbc28-int8-search.tflite"
    ]


def test_a_bundle_is_signed_and_its_signature_checked(
    edgecell: Run, run_copy: Path, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography", reason="the extra 'custody' is not installed")
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the keys")
    subprocess.run("openssl genpkey -algorithm ed25519 -out key.pem", shell=True, check=True)
    subprocess.run("openssl pkey -in key.pem -pubout -out public.pem", shell=True, check=True)
    model = run_copy / "quantize/pbc28-int8-search.tflite"
    flags = ["--golden", "synthetic", "--sign", "key.pem"]
    packed = edgecell("bundle", model, "--target", "python", *flags)
    assert packed.code == 0, packed.err
    [archive] = (run_copy / "bundle").glob("*.zip")
    for path in (archive, archive.with_suffix(""), run_copy):
        checked = edgecell("audit", path, "--key", "public.pem")
        assert (checked.code, checked.err) == (0, ""), checked.out
    assert edgecell("audit", archive, "--key", "key.pem").code == 6  # the private one
    labels = archive.with_suffix("") / "labels.txt"
    labels.write_text(labels.read_text().upper())
    inside = edgecell("audit", run_copy, "--key", "public.pem")
    assert inside.code == 6
    relative = labels.relative_to(run_copy).as_posix()
    assert f"altered    {relative}: was altered" in inside.out
