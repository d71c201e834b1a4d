"""The audit of bundles, as folders and as zips, and their signatures."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import toy_bundle

from edgecell.bundle import signing, writer
from edgecell.bundle.custody import audit_bundle
from edgecell.custody import Custody
from edgecell.disk import atomic_write_json, read_json
from edgecell.errors import ArtifactError
from edgecell.record import seal

pytest.importorskip("cryptography", reason="the extra 'custody' is not installed")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two pairs of keys as docs/audit.md makes them, one with a passphrase, one of another kind."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the keys")
    folder = tmp_path_factory.mktemp("keys")
    found = {}
    for name in ("mine", "other"):
        private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
        openssl("genpkey", "-algorithm", "ed25519", "-out", private)
        openssl("pkey", "-in", private, "-pubout", "-out", public)
        found |= {name: private, f"{name} public": public}
    found["locked"] = folder / "locked.pem"
    openssl("pkey", "-in", found["mine"], "-aes256", "-passout", "pass:x", "-out", found["locked"])
    found["rsa"] = folder / "rsa.pem"
    openssl("genpkey", "-algorithm", "rsa", "-out", found["rsa"])
    return found


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = toy_bundle.make_bundle(tmp_path_factory.mktemp("made") / "toy-python", ["python"])
    card = read_json(bundle / "model.json")
    atomic_write_json(bundle / "model.json", card | {"seal": seal(card)})
    return bundle


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def signed(bundle: Path, keys: dict[str, Path]) -> Path:
    signing.sign_folder(bundle, signing.private_key(keys["mine"]))
    return bundle


def said(found: Custody) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in found.findings]


def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def zipped(bundle: Path) -> Path:
    path = bundle.with_suffix(".zip")
    writer.write_zip(bundle, path)
    return path


def test_a_bundle_as_it_was_made_holds_as_folder_and_zip(bundle: Path) -> None:
    for path in (bundle, zipped(bundle)):
        found = audit_bundle(path)
        assert said(found) == []
        assert found.files == len(read_json(bundle / "model.json")["files"])


@pytest.mark.parametrize("form", [lambda bundle: bundle, zipped])
@pytest.mark.parametrize("name", ["model.tflite", "labels.txt", "golden/golden.json"])
def test_one_changed_byte_is_found(bundle: Path, name: str, form) -> None:
    flip(bundle / name)
    assert said(audit_bundle(form(bundle))) == [("altered", name)]


def test_a_changed_threshold_is_found(bundle: Path) -> None:
    path = bundle / "model.json"
    card = read_json(path)
    card["decision"]["abstention"]["threshold"] = 0.01
    atomic_write_json(path, card)
    assert said(audit_bundle(bundle)) == [("altered", "model.json")]


def test_files_too_few_and_too_many_are_found(bundle: Path) -> None:
    (bundle / "labels.txt").unlink()
    (bundle / "run_me.sh").write_text("true")
    found = audit_bundle(bundle)
    assert said(found) == [("missing", "labels.txt"), ("altered", "run_me.sh")]
    assert len(found.broken) == 2


def test_a_zip_with_a_file_twice_or_outside_is_refused(bundle: Path) -> None:
    path = zipped(bundle)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("elsewhere.txt", "x")
    assert said(audit_bundle(path)) == [("altered", "../elsewhere.txt")]
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{bundle.name}/labels.txt", "x")
    with pytest.raises(ArtifactError, match="twice"):
        audit_bundle(path)


def test_a_signed_bundle_holds_with_its_key_and_says_so_without(
    signed: Path, keys: dict[str, Path]
) -> None:
    key = signing.public_key(keys["mine public"])
    for path in (signed, zipped(signed)):
        assert said(audit_bundle(path, key)) == []
        found = audit_bundle(path)
        assert said(found) == [("note", signing.SIGNATURE)]
        assert not found.broken


def test_another_key_or_no_signature_is_refused(signed: Path, keys: dict[str, Path]) -> None:
    other, mine = (signing.public_key(keys[f"{name} public"]) for name in ("other", "mine"))
    assert said(audit_bundle(signed, other)) == [("altered", signing.SIGNATURE)]
    (signed / signing.SIGNATURE).unlink()
    assert said(audit_bundle(signed, mine)) == [("missing", signing.SIGNATURE)]
    (signed / signing.SUMS).unlink()
    [finding] = audit_bundle(signed, mine).broken
    assert "is not signed" in finding.said


def test_who_changes_a_file_and_all_hashes_is_found_by_the_signature(
    signed: Path, keys: dict[str, Path]
) -> None:
    """A model swapped with care: model.json sealed anew, SHA256SUMS made anew, the old signature."""
    mine = signing.public_key(keys["mine public"])
    flip(signed / "model.tflite")
    card = read_json(signed / "model.json")
    card["files"] = {
        name: digest
        for name, digest in writer.file_hashes(signed).items()
        if name not in ("model.json", signing.SUMS, signing.SIGNATURE)
    }
    card["model"]["sha256"] = card["files"]["model.tflite"]
    atomic_write_json(signed / "model.json", card | {"seal": seal(card)})
    kinds = said(audit_bundle(signed, mine))
    assert kinds == [("altered", signing.SUMS)]
    hashes = writer.file_hashes(signed)
    text = signing.sums(
        {n: h for n, h in hashes.items() if n not in (signing.SUMS, signing.SIGNATURE)}
    )
    (signed / signing.SUMS).write_bytes(text)
    assert not audit_bundle(signed).broken  # nobody without the key can tell
    assert said(audit_bundle(signed, mine)) == [("altered", signing.SIGNATURE)]


def test_sha256sum_and_openssl_check_it_too(signed: Path, keys: dict[str, Path]) -> None:
    subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", signing.SUMS], cwd=signed, check=True
    )
    verify = ["pkeyutl", "-verify", "-pubin", "-rawin", "-sigfile", signed / signing.SIGNATURE]
    openssl(*verify, "-inkey", keys["mine public"], "-in", signed / signing.SUMS)
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*verify, "-inkey", keys["other public"], "-in", signed / signing.SUMS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("locked", "has a passphrase"),
        ("rsa", "another kind of key than Ed25519"),
        ("mine public", "no private key in PEM"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(keys: dict[str, Path], name: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        signing.private_key(keys[name])
    with pytest.raises(ArtifactError, match="cannot read the key"):
        signing.private_key(keys[name].with_name("none.pem"))
    with pytest.raises(ArtifactError, match="no public key in PEM"):
        signing.public_key(keys["mine"])
