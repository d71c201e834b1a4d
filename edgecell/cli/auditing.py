"""The verb about what became of files since. It imports its stage inside, as in `commands`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from edgecell.cli import options as opt
from edgecell.cli.options import PATH
from edgecell.cli.terminal import print_json, print_line
from edgecell.errors import ArtifactError


@click.command(short_help="Was anything altered since its record was written?")
@click.argument("path", type=PATH, metavar="RUN|BUNDLE")
@click.option(
    "--key", type=PATH, help="The signer's public key in PEM: bundles have to be signed with it."
)
@opt.json_option
def audit(path: Path, key: Path | None, as_json: bool) -> None:
    """Walk the records of a run, or a bundle's folder or zip, and compute every sha256 anew.

    Names what was altered, what is missing, which stage was made from a file that is another one
    now, and what no record vouches for. Exit code 6 for the first three. Keys for --key and for
    'bundle --sign' come from openssl, see docs/audit.md.
    """
    from edgecell.pipeline import auditing

    found = auditing.audit(path, key)
    if as_json:
        print_json(found.to_json())
    else:
        for finding in found.findings:
            print_line(f"{finding.kind:<11}{finding.path}: {finding.said}")
        records = f"{found.records} records, " if found.records else ""
        print_line(f"{records}{found.files} files are as recorded")
    if found.broken:
        raise ArtifactError(f"{path}: {_counted([each.kind for each in found.broken])}")


def _counted(kinds: Sequence[str]) -> str:
    said = [f"{kinds.count(kind)} {kind}" for kind in ("altered", "missing", "stale")]
    return ", ".join(each for each in said if not each.startswith("0 "))


COMMANDS: tuple[click.Command, ...] = (audit,)
