"""Arrays and image files."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgecell.config import DataConfig
from edgecell.data import load_dataset
from edgecell.errors import DataError
from edgecell.pipeline.predicting import _pixels
from edgecell.preprocess import PreprocessSpec, decode_bytes, decode_file

from . import mutate
from .harness import SilentAcceptance

Say = Callable[[str], None]
_PNG = 8


class Npz:
    """Data sets in MedMNIST's layout."""

    name = "npz"

    def prepare(self, folder: Path) -> None:
        """Three small sets: one label, several labels, and names and a task beside them."""
        random_ = np.random.default_rng(0)
        self.sets = []
        for labels in (random_.integers(0, 2, (24, 1)), random_.integers(0, 2, (24, 3))):
            arrays: dict[str, np.ndarray] = {}
            for split, count in (("train", 24), ("val", 8), ("test", 8)):
                arrays[f"{split}_images"] = random_.integers(0, 256, (count, 6, 6, 3), np.uint8)
                arrays[f"{split}_labels"] = labels[:count]
            self.sets.append(arrays)
        self.sets.append(
            self.sets[0] | {"class_names": np.array(["a", "b"]), "task": np.array("binary-class")}
        )
        self.files = [_npz(arrays, packed) for arrays in self.sets for packed in (False, True)]
        self.words = [
            b"PK\x03\x04",
            b"PK\x01\x02",
            b"PK\x05\x06",
            b"PK\x06\x06",
            b"\x93NUMPY",
            b"'descr': '|O'",
        ]

    def make(self, rand: random.Random) -> bytes:
        """A third bytes of the file; the others members, zipped again with a right checksum."""
        if rand.random() < 0.35:
            return mutate.mutated(rand, rand.choice(self.files), self.files, self.words)
        arrays = rand.choice(self.sets)
        members = {f"{key}.npy": _npy(value) for key, value in arrays.items()}
        for _ in range(rand.choice((1, 1, 2))):
            name = rand.choice(list(members))
            members[name] = self._member(rand, members[name])
            if rand.random() < 0.1:
                members[rand.choice(("../up.npy", "/abs.npy", "x" * 3000, "train_images"))] = b"x"
        if rand.random() < 0.02:
            header = _header(
                "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 6, 6, 3), }"
            )
            members["train_images.npy"] = header + bytes(108 * 10**6)
        return _zip(
            members,
            rand.choice(
                (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
            ),
        )

    def _member(self, rand: random.Random, member: bytes) -> bytes:
        if rand.random() < 0.4:
            return mutate.mutated(rand, member)
        descr = rand.choice(
            ("|u1", "<i8", ">i8", "<f4", "|O", "<U3", "<U0", "|V8", "|b1", "<m8[s]", "<c16", "x")
        )
        shape = [
            rand.choice((0, 1, 6, 24, -1, mutate.integer(rand)))
            for _ in range(rand.choice((0, 1, 2, 4, 40)))
        ]
        order = rand.choice(("True", "False", "None"))
        text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {tuple(shape)}, }}"
        if rand.random() < 0.3:
            nasty = (
                "(" * 4000,
                "-" * 9000 + "1",
                "[" * 90 + "]" * 90,
                "'" * 7,
                "__import__('os').system('id')",
            )
            text = text.replace(str(tuple(shape)), rand.choice(nasty))
        return _header(text) + member[128:]

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As ``--data``; of what is taken, all images are read."""
        path = folder / "cells.npz"
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = load_dataset(DataConfig(source=str(path)))
        for split in (dataset.train, dataset.val, dataset.test):
            for i in range(min(len(split), 200)):
                split.source.read(i)


class Pictures:
    """Image files of every format that is taken, and some that are not."""

    name = "image"

    def prepare(self, folder: Path) -> None:
        """One picture in many forms."""
        random_ = np.random.default_rng(0)
        rgb = Image.fromarray(random_.integers(0, 256, (24, 20, 3), np.uint8))
        grey = Image.fromarray(random_.integers(0, 65536, (24, 20), np.uint16))
        exif = Image.Exif()
        exif[0x0112] = 6
        exif[0x9286] = b"comment"
        forms: list[tuple[Any, str, dict[str, Any]]] = [
            (rgb, "PNG", {}),
            (rgb, "PNG", {"exif": exif}),
            (rgb.convert("P"), "PNG", {"transparency": 0}),
            (rgb.convert("RGBA"), "PNG", {}),
            (grey, "PNG", {}),
            (rgb, "JPEG", {"exif": exif}),
            (rgb, "JPEG", {"progressive": True, "subsampling": 0}),
            (rgb.convert("CMYK"), "JPEG", {}),
            (rgb, "BMP", {}),
            (rgb.convert("P"), "BMP", {}),
            (rgb, "TIFF", {}),
            *(
                (rgb, "TIFF", {"compression": c})
                for c in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")
            ),
            (grey, "TIFF", {}),
            (rgb, "WEBP", {"exif": exif}),
            (rgb, "WEBP", {"lossless": True}),
            (
                rgb.convert("P"),
                "GIF",
                {"save_all": True, "append_images": [rgb.rotate(90).convert("P")]},
            ),
            (rgb, "PPM", {}),
            (rgb, "EPS", {}),
            (rgb, "ICNS", {}),
        ]
        self.files = []
        for image, form, options in forms:
            stream = io.BytesIO()
            image.save(stream, form, **options)
            self.files.append(stream.getvalue())
        self.words = [
            b"IHDR",
            b"IDAT",
            b"IEND",
            b"zTXt",
            b"iCCP",
            b"acTL",
            b"Exif\0\0MM\0*",
            b"VP8L",
            b"VP8X",
            b"ANIM",
        ]
        self.words += [
            b"\xff\xc0",
            b"\xff\xc4",
            b"\xff\xda",
            b"\xff\xe1",
            b"II*\0",
            b"!\xf9\x04",
            b"8BPS",
            b"%!PS-Adobe",
        ]

    def make(self, rand: random.Random) -> bytes:
        """Bytes of any of them, or a chunk of a PNG with its checksum made right again."""
        data = rand.choice(self.files)
        if data[:4] == b"\x89PNG" and rand.random() < 0.7:
            return self._png(rand, data)
        return mutate.mutated(rand, data, self.files, self.words)

    def _png(self, rand: random.Random, data: bytes) -> bytes:
        chunks, at = [], _PNG
        while at + 12 <= len(data):
            (length,) = struct.unpack(">I", data[at : at + 4])
            chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
            at += 12 + length
        what, which = rand.random(), rand.randrange(len(chunks))
        name, body = chunks[which]
        if what < 0.2:
            size = struct.pack(
                ">II", mutate.integer(rand, 20) % 2**32, mutate.integer(rand, 24) % 2**32
            )
            chunks[0] = (chunks[0][0], size + chunks[0][1][8:])
        elif what < 0.3:
            bomb = zlib.compress(bytes(50_000_000), 9)
            chunks.insert(1, (rand.choice((b"zTXt", b"iCCP", b"IDAT")), b"a\0\0" + bomb))
        elif name == b"IDAT" and what < 0.6:
            chunks[which] = (name, zlib.compress(mutate.mutated(rand, zlib.decompress(body))))
        else:
            chunks[which] = (name, mutate.mutated(rand, body))
        packed = [
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        ]
        return data[:_PNG] + b"".join(packed)

    def feed(self, data: bytes, folder: Path, say: Say) -> None:
        """As a file of a data set, of ``predict``, and as an upload to ``serve``."""
        path = folder / "cell.png"
        path.write_bytes(data)
        spec = PreprocessSpec(28, 28)
        shown = _pixels(path, spec)
        try:
            decode_bytes(data, "this file", max_pixels=50_000_000)
        except DataError:
            if not isinstance(shown, str):
                raise AssertionError("serve refuses what predict takes") from None
        decoded = decode_file(path)
        if isinstance(shown, str) or decoded.dtype != np.uint8 or decoded.shape[2] != 3:
            raise SilentAcceptance(f"predict says {str(shown)[:80]}, a data set takes it")


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _header(text: str) -> bytes:
    body = text.encode("latin-1", "replace")
    body += b" " * (-(len(body) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body) % 65536) + body


def _npz(arrays: dict[str, np.ndarray], packed: bool) -> bytes:
    way = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    return _zip({f"{key}.npy": _npy(value) for key, value in arrays.items()}, way)


def _zip(members: dict[str, bytes], way: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", way) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()
