"""Signatures of bundles: Ed25519 over the list of all files' sha256, as sha256sum and openssl know them.

RFC 8032. ``SHA256SUMS`` has a line for every other file of the bundle, sorted by path, in the form of
``sha256sum``; ``SHA256SUMS.sig`` are the 64 bytes of the signature over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgecell.bundle.writer import file_hashes
from edgecell.disk import atomic_write_bytes, sha256_bytes
from edgecell.errors import ArtifactError, ConfigError

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
_MOST_PEM = 10_000


def sums(hashes: Mapping[str, str]) -> bytes:
    """The text that is signed: ``hashes`` are path → sha256 of all files but the two of the signature."""
    return "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode()


def sign_folder(bundle: Path, key: Any) -> None:
    """Write SHA256SUMS and its signature into a finished bundle."""
    text = sums(file_hashes(bundle))
    atomic_write_bytes(bundle / SUMS, text)
    atomic_write_bytes(bundle / SIGNATURE, key.sign(text))


def is_signed(text: bytes, signature: bytes, key: Any) -> bool:
    """Whether ``signature`` over ``text`` is one of the owner of the public ``key``."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def fingerprint(public: Any) -> str:
    """sha256 of a public key's 32 bytes."""
    return sha256_bytes(public.public_bytes_raw())


def private_key(path: Path) -> Any:
    """The Ed25519 private key of a PEM file (PKCS #8, no passphrase).

    Raises:
        ConfigError: cryptography is not installed. ArtifactError: no such file, or no such key in it.
    """
    return _key(path, "private", "openssl genpkey -algorithm ed25519 -out key.pem")


def public_key(path: Path) -> Any:
    """The Ed25519 public key of a PEM file.

    Raises:
        ConfigError: cryptography is not installed. ArtifactError: no such file, or no such key in it.
    """
    return _key(path, "public", "openssl pkey -in key.pem -pubout -out public.pem")


def _key(path: Path, kind: str, make: str) -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(
            "signatures need the package cryptography: pip install -c constraints.txt -e '.[custody]'"
        ) from error
    wanted: Any = {"private": ed25519.Ed25519PrivateKey, "public": ed25519.Ed25519PublicKey}[kind]
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_PEM)
    except OSError as error:
        raise ArtifactError(f"cannot read the key {path}: {error.strerror}") from error
    try:
        key: Any = (
            serialization.load_pem_private_key(data, password=None)
            if kind == "private"
            else serialization.load_pem_public_key(data)
        )
    except TypeError as error:  # what cryptography raises for a key with a passphrase
        raise ArtifactError(
            f"{path} has a passphrase; sign with a copy without one: openssl pkey -in {path} -out KEY"
        ) from error
    except ValueError as error:
        raise ArtifactError(f"{path} holds no {kind} key in PEM; make one: {make}") from error
    if not isinstance(key, wanted):
        raise ArtifactError(f"{path} holds another kind of key than Ed25519; make one: {make}")
    return key
