from __future__ import annotations

import hashlib
import http.server
import re
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from edgecell.config import DataConfig
from edgecell.data import catalog as catalog_module
from edgecell.data import describe, fetch, list_catalog, load_dataset, medmnist_files
from edgecell.data.catalog import RemoteFile, catalog
from edgecell.errors import ConfigError, DataError
from edgecell.lock import claimed


@pytest.fixture
def official(arrays, tmp_path):
    """The bytes of a stand-in for an official breastmnist.npz."""
    path = tmp_path / "served.npz"
    np.savez(path, **{k: v % 2 if k.endswith("labels") else v[..., 0] for k, v in arrays.items()})
    return path.read_bytes()


@pytest.fixture
def server(official, monkeypatch):
    """A server on loopback in the official one's place; ``answers`` is what it says, in turn."""
    answers: list[bytes | int] = []
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers.pop(0) if answers else official
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(official)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    remote = RemoteFile(
        "breastmnist.npz",
        f"http://127.0.0.1:{httpd.server_port}/breastmnist.npz",
        hashlib.md5(official).hexdigest(),
    )
    fake = {"breastmnist": replace(catalog()["breastmnist"], files={28: remote})}
    monkeypatch.setattr(medmnist_files, "catalog", lambda: fake)
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch waits between attempts
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    httpd.answers, httpd.asked = answers, asked
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def test_a_file_is_downloaded_once_and_loaded(server, official, tmp_path):
    root = tmp_path / "new" / "root"
    config = DataConfig("BreastMNIST", root=str(root))
    dataset = load_dataset(config)
    assert dataset.class_names == ("malignant", "normal, benign")
    assert dataset.origin["kind"] == "medmnist"
    assert dataset.origin["source"] == "BreastMNIST"
    assert (root / "breastmnist.npz").read_bytes() == official
    load_dataset(config)
    assert server.asked == ["/breastmnist.npz"]


def test_a_failed_download_is_tried_again(server, official, tmp_path):
    server.answers += [503, official[:100]]
    assert fetch("breastmnist", 28, tmp_path / "root").read_bytes() == official
    assert len(server.asked) == 3


@pytest.mark.parametrize("answer", [404, "other content"])
def test_a_download_that_never_works_leaves_nothing(server, official, tmp_path, answer):
    bad = answer if isinstance(answer, int) else b"x" * len(official)
    server.answers += [bad] * 9
    reason = "the server answered 404" if isinstance(answer, int) else "has another MD5"
    with pytest.raises(DataError, match=reason) as caught:
        fetch("breastmnist", 28, str(tmp_path / "root"))
    for part in ("breastmnist.npz", "official MedMNIST record on Zenodo", "--root", "\n"):
        assert (part in str(caught.value)) == (part != "\n")
    assert list((tmp_path / "root").iterdir()) == []
    assert len(server.asked) == medmnist_files.RETRIES + 1


def test_what_a_killed_download_left_is_gone_with_the_next(server, official, tmp_path):
    left = tmp_path / ".breastmnist.npz.tmp"
    left.mkdir()
    (left / "breastmnist.npz").write_bytes(official[:100])
    (left / "tmpabc").write_bytes(b"half")
    path = fetch("breastmnist", 28, tmp_path)
    assert path.read_bytes() == official
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".", "tmp"))) == []


def left_by_a_late_kill(folder, official):
    """A whole file, the emptied folder of its download and the lock of the process that was killed."""
    folder.mkdir()
    (folder / "breastmnist.npz").write_bytes(official)
    (folder / ".breastmnist.npz.tmp").mkdir()
    (folder / ".fetch breastmnist.npz.lock").write_text('{"pid": 1}')


def test_a_download_killed_after_its_file_was_whole_leaves_nothing_either(
    server, official, tmp_path
):
    root = tmp_path / "root"
    left_by_a_late_kill(root, official)
    assert fetch("breastmnist", 28, root).read_bytes() == official
    assert [path.name for path in root.iterdir()] == ["breastmnist.npz"]
    assert server.asked == []


def test_a_download_at_its_end_is_left_to_clear_up_itself(server, official, tmp_path):
    root = tmp_path / "root"
    left_by_a_late_kill(root, official)
    with claimed(root, "fetch breastmnist.npz"):
        assert fetch("breastmnist", 28, root).read_bytes() == official
        assert (root / ".breastmnist.npz.tmp").is_dir()
        assert (root / ".fetch breastmnist.npz.lock").is_file()


def test_no_server_is_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"could not be downloaded \(no connection\)") as caught:
        fetch("breastmnist", 28, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_made_is_a_data_error(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="could not be downloaded"):
        fetch("breastmnist", 28, tmp_path / "file" / "root")


def test_a_wrong_file_under_the_root_is_left_alone(server, tmp_path):
    (tmp_path / "breastmnist.npz").write_bytes(b"mine")
    right = medmnist_files.catalog()["breastmnist"].files[28].md5
    found = hashlib.md5(b"mine").hexdigest()
    with pytest.raises(DataError, match=f"its MD5 is {found}, the official one {right}; move it"):
        fetch("breastmnist", 28, tmp_path)
    assert (tmp_path / "breastmnist.npz").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("organmnist3d", r"organmnist3d holds volumes \(3D\)"),
        ("bloodmnits", "no data set or path 'bloodmnits'; did you mean bloodmnist"),
        ("zzz", "names: synthetic, pathmnist, .*--data takes 'synthetic', a MedMNIST 2D name"),
        ("no/such/place", "no file or folder at no/such/place; --data takes"),
        ("missing.npz", "no file or folder at missing.npz"),
    ],
)
def test_what_cannot_be_loaded_says_what_can(tmp_path, source, message):
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(DataConfig(source, root=str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_to_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(
        DataError, match=r"model\.tflite is neither an \.npz file, a folder nor a CSV"
    ):
        load_dataset(DataConfig(str(tmp_path / "model.tflite")))


def test_a_size_that_does_not_exist_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no size 96; allowed: 28, 64, 128, 224"):
        fetch("bloodmnist", 96, tmp_path)


def test_without_medmnist_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(catalog_module.importlib.util, "find_spec", lambda _: None)
    catalog.cache_clear()
    try:
        with pytest.raises(DataError, match="pip install --no-deps medmnist"):
            catalog()
    finally:
        monkeypatch.undo()
        catalog.cache_clear()


def test_the_catalog_is_read_in_silence_and_without_torch_or_tensorflow():
    code = (
        "import sys; from edgecell.data.catalog import catalog; n = len(catalog());"
        "assert n == 12, n; assert not {'torch', 'tensorflow', 'tf_keras', 'click'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("", "")


def test_the_catalog_agrees_with_the_medmnist_package(capsys):
    info = pytest.importorskip("medmnist.info").INFO
    rows = {row["name"]: row for row in list_catalog("nowhere")}
    assert set(rows) == {name for name in info if "3d" not in name}
    for name, row in rows.items():
        assert row["samples"] == info[name]["n_samples"]
        assert row["classes"] == len(info[name]["label"])
        assert row["present"] == []
        entry, facts = catalog()[name], info[name]
        assert (entry.task, entry.channels) == (facts["task"], facts["n_channels"])
        for size, suffix in ((28, ""), (64, "_64"), (128, "_128"), (224, "_224")):
            remote = entry.files[size]
            assert remote.file_name == f"{name}{suffix}.npz"
            assert remote.url == facts[f"url{suffix}"]
            assert f"/{remote.file_name}" in remote.url
            assert remote.md5 == facts[f"MD5{suffix}"]
            assert re.fullmatch("[0-9a-f]{32}", remote.md5)
    every = [remote.md5 for entry in catalog().values() for remote in entry.files.values()]
    assert len(set(every)) == 48
    assert catalog()["bloodmnist"].class_names[3] == "immature granulocytes"


TWELVE = {
    "pathmnist": 9,
    "chestmnist": 14,
    "dermamnist": 7,
    "octmnist": 4,
    "pneumoniamnist": 2,
    "retinamnist": 5,
    "breastmnist": 2,
    "bloodmnist": 8,
    "tissuemnist": 8,
    "organamnist": 11,
    "organcmnist": 11,
    "organsmnist": 11,
}


@pytest.mark.parametrize(("name", "classes"), TWELVE.items())
@pytest.mark.parametrize("size", [28, 64])
def test_a_file_of_each_set_s_layout_is_read_as_rgb_with_its_names(
    tmp_path, monkeypatch, name, classes, size
):
    """A stand-in in the official shapes: grey sets have no channel axis, labels are (N, 1) or (N, 14)."""
    assert set(TWELVE) == set(catalog())
    entry = catalog()[name]
    rng = np.random.default_rng(6)
    shape = (size, size) if entry.channels == 1 else (size, size, 3)
    content = {}
    for split, count in (("train", 4 * classes), ("val", classes), ("test", classes)):
        content[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = (np.arange(count) % classes)[:, None]
        if entry.multi_label:
            labels = (rng.random((count, classes)) < 0.3) | (labels == np.arange(classes))
        content[f"{split}_labels"] = labels.astype(np.uint8)
    path = tmp_path / entry.files[size].file_name
    np.savez_compressed(path, **content)
    remote = replace(entry.files[size], md5=hashlib.md5(path.read_bytes()).hexdigest())
    fake = catalog() | {name: replace(entry, files={size: remote})}
    monkeypatch.setattr(medmnist_files, "catalog", lambda: fake)

    dataset = load_dataset(DataConfig(name, size=size, root=str(tmp_path)))
    assert dataset.class_names == entry.class_names
    assert len(dataset.class_names) == classes
    assert dataset.task == entry.task
    image, stored = dataset.test.source.read(1), content["test_images"][1]
    assert image.shape == (size, size, 3)
    np.testing.assert_array_equal(image, stored if stored.ndim == 3 else np.dstack([stored] * 3))
    expected = content["val_labels"] if entry.multi_label else content["val_labels"][:, 0]
    np.testing.assert_array_equal(dataset.val.labels, expected)


def test_named_grades_are_still_grades(arrays, write_npz):
    for split in ("train", "val", "test"):
        arrays[f"{split}_labels"] = (np.arange(len(arrays[f"{split}_labels"])) % 5)[:, None]
    path = write_npz(arrays, "retinamnist.npz")
    plain = load_dataset(DataConfig(path))
    named = load_dataset(DataConfig(path, class_names="none,mild,moderate,severe,proliferative"))
    assert plain.task == named.task == "ordinal-regression"
    assert named.class_names[2] == "moderate"


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("name", "counts", "note"),
    [
        ("pneumoniamnist", [4708, 524, 624], "8 of val also in train"),
        (
            "retinamnist",
            [1080, 120, 400],
            "treated as 5 separate classes, and judged by quadratic kappa too",
        ),
        ("breastmnist", [546, 78, 156], "1 of test also in train"),
    ],
)
def test_official_files(shared, name, counts, note):
    root = str(shared / "data/medmnist")
    dataset = load_dataset(DataConfig(name, root=root))
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == counts
    assert any(note in line for line in dataset.notes)
    assert dataset.task == catalog()[name].task
    assert describe(dataset, sample=20).pixels["train"].total == counts[0]
    (row,) = (row for row in list_catalog(root) if row["name"] == name)
    assert row["present"] == [28]


@pytest.mark.needs_shared
def test_strict_splits_refuse_the_official_duplicates(shared):
    config = DataConfig("pneumoniamnist", root=str(shared / "data/medmnist"), strict_splits=True)
    with pytest.raises(DataError, match="8 of val also in train .*--strict-splits"):
        load_dataset(config)
