"""Files made to do harm: each is refused in one line, and an honest one like it is taken."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import sys
import zipfile
from pathlib import Path

import flatbuffers
import h5py
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image

from edgecell import keras_check, quarantine
from edgecell.config import DataConfig
from edgecell.config_file import from_toml, load_config
from edgecell.data import load_dataset
from edgecell.data.npz_member import BOMB
from edgecell.disk import atomic_write_text, read_json
from edgecell.errors import ArtifactError, ConfigError, DataError
from edgecell.graph import scaling_operators
from edgecell.hdf5_heaps import never_ends
from edgecell.metadata_schema import pack, unpack
from edgecell.pipeline.vouching import admit, admit_weights
from edgecell.preprocess import decode_bytes, decode_file
from edgecell.record import of_our_form
from edgecell.rundir import RunDir
from edgecell.tflite_file import parse

SEEDS = Path(__file__).resolve().parents[1] / "fuzz" / "seeds"
INT8 = SEEDS / "int8.tflite"


# ------------------------------------------------------------------------------- documents


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = " + "[" * 50_000, "nested too deeply"),
        ("expected = {a = " + "[" * 80 + "]" * 80 + "}", "nested more than 64 deep"),
        ("a." * 60_000 + "a = 1", "a key of more than 64 parts"),
        ("name = " + "9" * 9_000, "digits"),
        ("#" * 300_000, "allowed: 256,000"),
    ],
)
def test_a_recipe_that_is_too_much_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        from_toml(text, "recipe.toml")


def test_a_recipe_of_usual_depth_is_taken():
    assert from_toml("[expected]\na.b.c.d = [[1.5, 2.5]]", "x").expected["a"]["b"]


def test_a_recipe_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "recipe.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path / "recipe.toml")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "9" * 5_000, "NaN", "1e999", '"\\ud800"', "[" * 70 + "]" * 70, "\xff"],
)
def test_json_that_is_none_of_ours_is_refused(tmp_path, text):
    (tmp_path / "record.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match="not a readable JSON"):
        read_json(tmp_path / "record.json")


def test_json_of_usual_depth_and_any_language_is_taken(tmp_path):
    (tmp_path / "x.json").write_text('{"a": [[["\\u00e9 é", 1e300]]]}', encoding="utf-8")
    assert read_json(tmp_path / "x.json") == {"a": [[["é é", 1e300]]]}


def test_a_misshapen_record_is_an_error_of_the_file():
    with (
        pytest.raises(ArtifactError, match=r"the record of x.*TypeError"),
        of_our_form("the record of x"),
    ):
        {"results": None}["results"]["models"]


def test_a_record_names_no_file_outside_of_its_run(tmp_path):
    run = RunDir(tmp_path)
    (tmp_path / "quantize").mkdir()
    record = run.write_record("quantize", inputs=[], outputs=[], config={}, results={})
    for name in ("/dev/zero", "../../etc/passwd", "a\0b"):
        path = tmp_path / "quantize" / "record.json"
        path.write_text(json.dumps(record | {"outputs": {name: "0" * 64}}))
        with pytest.raises(ArtifactError, match="is no file of"):
            run.check_outputs("quantize")


# ---------------------------------------------------------------------------------- arrays


def npz(path: Path, **members: bytes) -> Path:
    """A small data set with some members replaced by other bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "val", "test"):
            for key, array in (
                (f"{split}_images", np.zeros((8, 4, 4, 3), np.uint8)),
                (f"{split}_labels", np.arange(8) % 2),
            ):
                stream = io.BytesIO()
                np.save(stream, array, allow_pickle=False)
                archive.writestr(f"{key}.npy", members.pop(key, stream.getvalue()))
        for key, body in members.items():
            archive.writestr(f"{key}.npy", body)
    return path


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def array_header(descr: str, shape: tuple[int, ...]) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def test_the_small_data_set_itself_is_taken(tmp_path):
    assert len(load_dataset(DataConfig(source=str(npz(tmp_path / "x.npz")))).train) == 8


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (npy(array_header("|u1", (10**12, 4, 4, 3)), b"x" * 64), "its header says"),
        (npy(array_header("|u1", (-8, -4, 4, 3)), bytes(384)), "the shape"),
        (npy(array_header("|O", (8,)), b"\x80\x04K\x01."), "never loaded"),
        (npy(array_header("|u1", (8,)).replace("(8,)", "(" * 4000)), "cannot be read as .npz"),
        (
            npy(array_header("|u1", (8,)).replace("(8,)", "-" * 9000 + "1")),
            "cannot be read as .npz",
        ),
        (b"\x80\x04cos\nsystem\n", "cannot be read as .npz"),
    ],
)
def test_an_array_that_claims_what_is_not_there_is_refused(tmp_path, member, said):
    path = npz(tmp_path / "x.npz", train_images=member)
    with pytest.raises(DataError, match=said):
        load_dataset(DataConfig(source=str(path)))


def test_a_million_names_in_no_bytes_are_refused(tmp_path):
    path = npz(tmp_path / "x.npz", class_names=npy(array_header("<U0", (10**12,))))
    with pytest.raises(DataError, match="class_names has the shape"):
        load_dataset(DataConfig(source=str(path)))


def test_names_of_numbers_that_are_no_characters_are_refused(tmp_path):
    body = struct.pack("<2I", 0x41, 0x7FFFFFFF)
    path = npz(tmp_path / "x.npz", class_names=npy(array_header("<U1", (2,)), body))
    with pytest.raises(DataError, match="no characters"):
        load_dataset(DataConfig(source=str(path)))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    body = npy(array_header("|u1", (BOMB // 48 + 1, 4, 4, 3)), bytes(48 * (BOMB // 48 + 1)))
    path = npz(tmp_path / "x.npz", train_images=body)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DataError, match="unpacks to"):
        load_dataset(DataConfig(source=str(path)))


# ---------------------------------------------------------------------------------- tables


def test_a_table_of_endless_cells_is_refused(tmp_path):
    path = tmp_path / "cells.csv"
    for text, said in (
        ("path,label\n" + "x" * 5000 + ",a\n", "has more than 4,000"),
        ("path" * 50_000 + ",label\nx,a\n", "begins with a line of"),
        (f"path,label\n{'é' * 300}.png,a\n", "not there"),
        (f"path,label\nx.png,{'9' * 4000}\ny.png,{'8' * 4000}\n", "not there"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=said):
            load_dataset(DataConfig(source=str(path)))


# ---------------------------------------------------------------------------------- images


def test_what_starts_a_program_is_no_image(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "EPS")  # Pillow would call Ghostscript to draw it
    (tmp_path / "cell.png").write_bytes(stream.getvalue())
    for read in (
        lambda: decode_file(tmp_path / "cell.png"),
        lambda: decode_bytes(stream.getvalue(), "x"),
    ):
        with pytest.raises(DataError, match="not an image that Pillow can read"):
            read()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "cell.png")
    with pytest.raises(DataError, match="is not a file"):
        decode_file(tmp_path / "cell.png")


def test_a_picture_of_a_billion_pixels_is_not_decoded(tmp_path):
    stream = io.BytesIO()
    Image.new("1", (40_000, 30_000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 1_000_000
    with pytest.raises(DataError, match="allowed: 100,000,000 pixels"):
        decode_bytes(stream.getvalue(), "cell.png")


# ---------------------------------------------------------------------------------- tflite


def packed(change) -> bytes:
    """The int8 seed with ``change`` made to its tables."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(INT8.read_bytes(), 0))
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_seed_packed_anew_is_taken():
    assert len(parse(packed(lambda model, graph: None)).operators) > 3


def _ring(model, graph):
    graph.operators[0].builtinOptionsType = schema.BuiltinOptions.CallOnceOptions
    graph.operators[0].builtinOptions = schema.CallOnceOptionsT()


def _external(model, graph):
    group = schema.ExternalBufferGroupT()
    group.name = b"/etc/passwd"
    model.externalBufferGroups = [group]


TABLES = {
    "names tensor 900 of": lambda m, g: setattr(g.operators[1], "inputs", [900, 1, 2]),
    "names tensor -2 of": lambda m, g: setattr(g.operators[1], "outputs", [-2]),
    "names code 77 of": lambda m, g: setattr(g.operators[0], "opcodeIndex", 77),
    "names buffer 99 of": lambda m, g: setattr(g.tensors[0], "buffer", 99),
    "is of type 120": lambda m, g: setattr(g.tensors[0], "type", 120),
    "before it is written": lambda m, g: g.operators.reverse(),
    "which is not its own": lambda m, g: g.operators.append(g.operators[0]),
    "scales for axis 7": lambda m, g: [
        setattr(t.quantization, "quantizedDimension", 7)
        for t in g.tensors
        if t.quantization is not None
        and t.quantization.scale is not None
        and len(t.quantization.scale) > 1
    ],
    "has the shape": lambda m, g: setattr(g.tensors[g.inputs[0]], "shape", [1, 2**30, 2**30, 3]),
    "dimensions": lambda m, g: setattr(g.tensors[g.inputs[0]], "shape", [1] * 50),
    "in a ring": _ring,
    "lie in other files": _external,
}


@pytest.mark.parametrize("said", TABLES)
def test_tables_that_do_not_hold_together_are_refused(said):
    with pytest.raises(ArtifactError, match=said):
        parse(packed(TABLES[said]), "x.tflite")


def test_every_offset_is_looked_at():
    """Each word of the file in turn made to lead far away: refused or harmless, never another error."""
    data = INT8.read_bytes()
    refused = 0
    for at in range(8, len(data) - 4, 4):
        for value in (0x7FFFFFF0, 0xFFFFFFF0):
            changed = data[:at] + struct.pack("<I", value) + data[at + 4 :]
            try:
                parse(changed)
            except ArtifactError:
                refused += 1
    assert refused > len(data) / 20


def test_parts_that_overlap_stand_for_no_more_than_the_file():
    """20,000 tensors that are one tensor, with a shape of 20,000: 400 million numbers in 160 kB."""
    builder = flatbuffers.Builder(1024)
    builder.StartVector(4, 20_000, 4)
    for _ in range(20_000):
        builder.PrependInt32(1)
    shape = builder.EndVector()
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape)
    tensor = schema.TensorEnd(builder)
    builder.StartVector(4, 20_000, 4)
    for _ in range(20_000):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(ArtifactError, match="stands for many times its size"):
        parse(bytes(builder.Output()))


def test_metadata_that_overlap_are_not_unfolded():
    honest = {"subgraph_metadata": [{"name": "x", "output_tensor_metadata": [{"name": "y"}]}]}
    assert unpack(pack(honest)) == honest
    data = bytearray(pack({"subgraph_metadata": [{"name": "n" * 3000}] * 2}))
    count = data.index(struct.pack("<I", 2), 8)
    wide = data[:count] + struct.pack("<I", 2) + bytes(data[count + 4 :])
    assert unpack(bytes(wide))
    # Every list of the file says that it is as long as the file: most entries then are no tables.
    for at in range(8, len(data) - 4, 4):
        changed = bytes(data[:at]) + struct.pack("<I", 700) + bytes(data[at + 4 :])
        try:
            assert len(json.dumps(unpack(changed), default=str)) < 100 * len(data)
        except Exception as error:
            assert not isinstance(error, MemoryError | RecursionError)


def test_branches_that_meet_are_walked_once():
    """Forty layers of two casts each: 2 to the power of 40 ways through them."""
    from edgecell.tflite_file import Operator, TFLiteFile

    operators = tuple(
        Operator(2 * i + k, "QUANTIZE", (2 * i, 2 * i + 1), (2 * i + 2, 2 * i + 3))
        for i in range(40)
        for k in range(2)
    )
    assert list(scaling_operators(TFLiteFile((), operators, (0, 1), (), 1, 0))) == []


# ----------------------------------------------------------------------------------- Keras


def keras_file(path: Path, change=lambda config: None, **members: bytes) -> Path:
    """The .keras seed with ``change`` made to its configuration, and members added."""
    with zipfile.ZipFile(SEEDS / "plain.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    change(config)
    files["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in {**files, **members}.items():
            archive.writestr(name, body)
    return path


def layer(config: dict, name: str) -> dict:
    return next(each for each in config["config"]["layers"] if each["name"] == name)


def _object(**facts):
    return lambda config: layer(config, "conv")["config"].update(kernel_initializer=facts)


def _layer(**facts):
    return lambda config: layer(config, "flat").update(facts)


CODE = {
    "'system'": _object(class_name="function", config="system", module="keras.activations"),
    "'exec'": _object(class_name="function", config="exec", module="builtins"),
    "the module 'os'": _object(class_name="function", config="system", module="os"),
    "the module 'evil_module'": _object(class_name="Zeros", config={}, module="evil_module"),
    "'__lambda__'": _object(class_name="__lambda__", config={"value": ["4wAA", None, None]}),
    "'Lambda'": _layer(class_name="Lambda", config={"function": ["4wAA", None, None]}),
    "'ResidualWrapper'": _layer(class_name="ResidualWrapper"),
    "'InstanceMethod'": _layer(class_name="InstanceMethod"),
    "'io.write_file'": _layer(class_name="TFOpLambda", config={"function": "io.write_file"}),
    "'Own>Thing'": _layer(registered_name="Own>Thing"),
    "never gets what it takes": lambda config: layer(config, "flat")["inbound_nodes"][0][
        0
    ].__setitem__(1, 5),
    "'(dense|head)' never gets what it takes": _layer(inbound_nodes={}),
}


def test_the_seeds_are_taken(tmp_path):
    keras_check.check(keras_file(tmp_path / "x.keras"))
    for path in SEEDS.glob("*.h5"):
        keras_check.check(path)


@pytest.mark.parametrize("said", CODE)
def test_a_keras_file_with_code_of_its_own_is_refused(tmp_path, said):
    with pytest.raises(keras_check.RefusedError, match=said.replace(".", r"\.")):
        keras_check.check(keras_file(tmp_path / "x.keras", CODE[said]))
    # The same configuration in HDF5, where Keras knows no safe mode.
    stream = io.BytesIO((SEEDS / "plain.h5").read_bytes())
    with h5py.File(stream, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        CODE[said](config)
        file.attrs["model_config"] = json.dumps(config)
    (tmp_path / "x.h5").write_bytes(stream.getvalue())
    with pytest.raises(keras_check.RefusedError, match=said.replace(".", r"\.")):
        keras_check.check(tmp_path / "x.h5")


@pytest.mark.parametrize("name", ["__keras_tensor__", "DTypePolicy"])
def test_a_file_of_keras_3_is_called_that(tmp_path, name):
    change = _object(class_name=name, config={}, module="keras")
    with pytest.raises(keras_check.RefusedError, match="saved by Keras 3.*set_weights"):
        keras_check.check(keras_file(tmp_path / "x.keras", change))


def test_weights_without_a_model_are_called_that(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["kernel"] = [1.0, 2.0]
    with pytest.raises(keras_check.RefusedError, match="weights without a model"):
        keras_check.check(tmp_path / "x.h5")


def test_code_is_found_in_a_model_within_a_model(tmp_path):
    def nest(config):
        inner = json.loads(json.dumps(config))
        CODE["'Lambda'"](inner)
        layer(config, "flat").update(inner)

    with pytest.raises(keras_check.RefusedError, match="'Lambda'"):
        keras_check.check(keras_file(tmp_path / "x.keras", nest))


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "assets/x", "evil.py"])
def test_a_keras_file_holds_its_three_members_only(tmp_path, name):
    with pytest.raises(keras_check.RefusedError, match="it holds"):
        keras_check.check(keras_file(tmp_path / "x.keras", **{name: b"import os"}))


def test_a_bomb_of_weights_is_refused(tmp_path):
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset("w", (10**6, 10**4), "f4", chunks=(1000, 1000), compression="gzip")
    path = tmp_path / "x.h5"
    path.write_bytes(stream.getvalue())
    with pytest.raises(keras_check.RefusedError, match="40,000,000,000 bytes in a file of"):
        keras_check.check(path)


@pytest.mark.parametrize("kind", ["link", "soft", "external"])
def test_weights_of_other_files_are_refused(tmp_path, kind):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        if kind == "external":
            file.create_dataset("w", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        else:
            file["w"] = (
                h5py.ExternalLink("/etc/passwd", "/") if kind == "link" else h5py.SoftLink("/")
            )
    with pytest.raises(keras_check.RefusedError, match="elsewhere|in another file"):
        keras_check.check(path)


@pytest.fixture
def endless(tmp_path) -> Path:
    """A file over whose texts HDF5 itself loops without end: found by the fuzzer."""
    path = tmp_path / "endless.h5"
    path.write_bytes((SEEDS.parent / "crashes" / "endless.h5").read_bytes())
    return path


def test_hdf5_that_never_ends_is_refused(endless, tmp_path, monkeypatch):
    """Of the file, and of the same inside of a .keras file."""
    monkeypatch.setattr(quarantine, "_TRIED", set())
    with pytest.raises(ArtifactError, match=r"endless\.h5 .*: one of its heaps never ends"):
        admit_weights([endless])
    members = {"model.weights.h5": endless.read_bytes()}
    with pytest.raises(keras_check.RefusedError, match="one of its heaps never ends"):
        keras_check.check(keras_file(tmp_path / "x.keras", **members))


def test_heaps_that_end_are_let_through():
    sound = (SEEDS / "plain.h5").read_bytes()
    assert sound.count(b"GCOL") and not never_ends(sound)
    at = sound.index(b"GCOL")
    for cut in (at + 4, at + 20, len(sound) - 1):
        assert not never_ends(sound[:cut])
    free = struct.pack("<HHIQ", 0, 0, 0, 0)
    assert never_ends(sound[: at + 16] + free + sound[at + 32 :])
    assert not never_ends(sound[: at + 16] + free[:8] + struct.pack("<Q", 16) + sound[at + 32 :])


def test_looking_at_a_keras_file_is_limited_too(endless, monkeypatch):
    """Partner: with heaps that nobody looks at, HDF5 loops, and the child ends before TensorFlow is there."""
    code = (
        f"import sys; sys.path.append({str(quarantine._ROOT)!r}); from edgecell import keras_check as k,"
        " quarantine as q; k.never_ends = lambda data: False; q.MOST_CHECK_SECONDS = 1; q.main();"
    )
    for attempt in (lambda: admit_weights([endless]), lambda: quarantine.try_file(endless)):
        child(monkeypatch, code)
        with pytest.raises(ArtifactError, match=r"endless\.h5 took more than a file of its size"):
            attempt()


def test_a_larger_file_and_a_slower_machine_may_take_longer():
    least = quarantine.seconds_for(30_000, spent=0.5)
    assert least < 10
    assert quarantine.seconds_for(95_000_000, spent=4.4) > 4 * 13  # ResNet50 took 13 s
    assert quarantine.seconds_for(10**12, spent=0.5) < 60
    assert quarantine.seconds_for(30_000, spent=20) == pytest.approx(40, abs=0.1)


def test_weights_are_walked_through_in_the_child(tmp_path, monkeypatch):
    monkeypatch.setattr(quarantine, "_TRIED", set())
    admit_weights([SEEDS / "plain.h5", tmp_path / "missing.h5", Path(__file__)])
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["w"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(ArtifactError, match="'w' is a link to elsewhere"):
        admit_weights([tmp_path / "linked.h5"])


# ------------------------------------------------------------------------------ quarantine


def child(monkeypatch, code: str) -> None:
    """Another program for the child process; nothing is known to have been tried."""
    monkeypatch.setattr(quarantine, "_PROGRAM", code.replace("{", "{{").replace("}", "}}"))
    monkeypatch.setattr(quarantine, "_TRIED", set())


def test_a_sound_model_passes_and_is_tried_once(monkeypatch):
    monkeypatch.setattr(quarantine, "_TRIED", set())
    quarantine.try_file(INT8)
    child_ran = len(quarantine._TRIED)
    monkeypatch.setattr(quarantine, "_PROGRAM", "raise SystemExit(9)")
    quarantine.try_file(INT8)
    assert child_ran == 1


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGKILL"])
def test_a_crash_of_the_child_is_an_error_that_names_the_signal(monkeypatch, name):
    number = int(getattr(signal, name))
    child(monkeypatch, f"import os; os.kill(os.getpid(), {number})")
    with pytest.raises(ArtifactError, match=rf"int8\.tflite crashed .*{name}") as caught:
        quarantine.try_file(INT8)
    assert caught.value.exit_code == 6


def test_a_child_that_never_ends_is_ended(monkeypatch):
    child(monkeypatch, "while True: pass")
    monkeypatch.setattr(quarantine, "MOST_SECONDS", 1)
    with pytest.raises(ArtifactError, match="took more than"):
        quarantine.try_file(INT8)


def test_a_child_that_dies_without_a_word_is_no_pass(monkeypatch):
    for code in ("raise SystemExit(0)", "print('{}')", "print('null')", "raise SystemExit(1)"):
        child(monkeypatch, code)
        with pytest.raises(ArtifactError, match="could not be tried"):
            quarantine.try_file(INT8)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are Linux's")
def test_memory_and_time_are_limited_in_the_child(monkeypatch):
    root = str(quarantine._ROOT)
    before = f"import sys; sys.path.append({root!r}); from edgecell import quarantine as q; "
    greedy = "q.attempt = lambda path: bytearray(2 * q.MOST_MEMORY); q.main()"
    child(monkeypatch, before + greedy)
    with pytest.raises(ArtifactError, match="needs more than 4 GB"):
        quarantine.try_file(INT8)
    endless = (
        "q.MOST_PROCESSOR_SECONDS = 1\ndef f(p):\n    while True: pass\nq.attempt = f; q.main()"
    )
    child(monkeypatch, before + "\n" + endless)
    with pytest.raises(ArtifactError, match="took more than"):
        quarantine.try_file(INT8)


def test_what_crashed_the_runtime_in_the_fuzzer_is_refused(tmp_path):
    """Its tables hold together; the runtime of this version crashes on what they say."""
    for path in sorted((SEEDS.parent / "crashes").glob("*.tflite")):
        with pytest.raises(
            ArtifactError, match=r"crashed the process|cannot be run|cannot be used"
        ):
            quarantine.try_file(path)


def test_a_record_vouches_for_its_own_file_only(tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    file = run.stage("quantize") / "x.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(INT8.read_bytes())
    atomic_write_text(run.path / "config.toml", "")
    run.write_record("quantize", inputs=[], outputs=[file], config={}, results={})
    child(monkeypatch, "raise SystemExit(1)")  # no child may be needed here
    admit(file, run)
    copy = run.path / "copy.tflite"
    copy.write_bytes(file.read_bytes())
    admit(copy, run)
    file.write_bytes((SEEDS / "float32.tflite").read_bytes())
    with pytest.raises(ArtifactError, match="was altered after 'quantize'"):
        admit(file, run)
    with pytest.raises(ArtifactError, match="could not be tried"):
        admit(SEEDS / "dynamic.tflite", run)
