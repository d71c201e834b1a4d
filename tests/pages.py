"""The README and docs/*.md held against the program: their commands, flags, links and paths.

A complaint is a line "PAGE: what is wrong". Commands are parsed, never run.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from edgecell.cli import cli, options
from edgecell.config import Config
from edgecell.config_file import from_toml
from edgecell.errors import ConfigError
from edgecell.tuning.space import parse_space

Words = tuple[str, ...]

# A code block: its language, and its text.
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)", flags=re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", flags=re.MULTILINE)
# A slash that begins a word begins a path from the root; URLs, fractions, "a/b" and "$PWD:/x" do not.
_ABSOLUTE = re.compile(r"(?<![\w.:~/$}>)*<\-…|])/[A-Za-z][\w.-]*|\b[A-Z]:\\\w+")
_OF_THE_REPOSITORY = re.compile(r"(?:edgecell|converters|benchmarks|tests|docs)/[\w/.-]+\.\w+")
_LANGUAGES = ("sh", "toml", "python", "text")
_OPERATORS = ("&&", "||", "|", ";")


def leaves(group: click.Group = cli, before: Words = ()) -> list[Words]:
    """Every command as the words that call it."""
    found: list[Words] = []
    for name, command in group.commands.items():
        inner = isinstance(command, click.Group)
        found += leaves(command, (*before, name)) if inner else [(*before, name)]
    return found


def complaints(page: Path, root: Path) -> list[str]:
    """Everything that is wrong with a page of the repository at ``root``."""
    text = page.read_text(encoding="utf-8")
    prose = _BLOCK.sub("", text)
    found = [
        *(
            f"a block of '{language}', which is not looked into; allowed: {', '.join(_LANGUAGES)}"
            for language, _ in _BLOCK.findall(text)
            if language not in _LANGUAGES
        ),
        *("a block that has no end" for _ in re.findall("^```", prose, flags=re.MULTILINE)),
        *(f"{line}: {said}" for line in command_lines(text) for said in _typed(line)),
        *(said for body in _blocks(text, "toml") for said in _settings(body)),
        *(f"`{span}`: {said}" for span in _SPAN.findall(prose) for said in _spoken(span, page)),
        *(f"link {target}: {said}" for target, said in _links(page, prose)),
        *(f"{path} is an absolute path" for path in _ABSOLUTE.findall(text)),
        *(f"there is no {name}" for name in _files(prose) if not (root / name).exists()),
    ]
    return [f"{page.name}: {said}" for said in found]


def command_lines(text: str) -> list[str]:
    """The lines of the shell blocks, continued lines joined."""
    lines = "".join(_blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


def wrong_calls(line: str) -> list[str]:
    """What the program would refuse of a command line of a script."""
    return [f"{line}: {said}" for said in _typed(" ".join(line.split()))]


def undocumented(pages: Path) -> list[str]:
    """Commands without a page ("# edgecell VERB") or a section of their group's page; and the reverse."""
    wanted = {f"edgecell {' '.join(words)}": pages / f"{words[0]}.md" for words in leaves()}
    titles = {page: _HEADING.findall(_prose(page)) for page in sorted(pages.glob("*.md"))}
    missing = [
        f"{page.name} has no heading '{command}'"
        for command, page in wanted.items()
        if command not in titles.get(page, [])
    ]
    groups = {f"edgecell {words[0]}" for words in leaves() if len(words) > 1}
    stale = [
        f"{page.name} has the heading '{title}', which is no command"
        for page, headings in titles.items()
        for title in headings
        if title.startswith("edgecell ") and title not in wanted and title not in groups
    ]
    return missing + stale


def _blocks(text: str, language: str) -> list[str]:
    return [body for found, body in _BLOCK.findall(text) if found == language]


def _settings(body: str) -> Iterator[str]:
    """What is wrong with a recipe, or with the space of a search."""
    try:
        if body.lstrip().startswith("[space]"):
            parse_space(body, "the space")
        else:
            from_toml(body, "the recipe")
    except ConfigError as error:
        yield str(error)


def _typed(line: str) -> Iterator[str]:
    """What click or the configuration would refuse of a line that begins, or contains, a call."""
    for words in _calls(shlex.split(line, comments=True)):
        command, path, rest = _resolve(words)
        if isinstance(command, click.Group):
            if rest not in (["--help"], ["--version"]):
                yield f"no command '{' '.join([*path, *rest[:1]])}'"
        elif rest != ["--help"]:
            try:
                context = command.make_context(" ".join(path), list(rest))
                options.configure(dict(context.params), Config())
            except (click.ClickException, ConfigError) as error:
                said = error.format_message() if isinstance(error, click.ClickException) else error
                yield str(said)


def _calls(words: list[str]) -> Iterator[list[str]]:
    """The words after each ``edgecell`` that is called: first of a command, or of a container's."""
    start = True
    container = False
    for i, word in enumerate(words):
        container = container or (word == "docker" and words[i + 1 : i + 2] == ["run"])
        if word == "edgecell" and (start or container or words[i - 1] == "-m"):
            ends = [j for j in range(i, len(words)) if words[j] in (*_OPERATORS, ">")]
            yield words[i + 1 : ends[0] if ends else len(words)]
            container = False
        start = word in _OPERATORS or (start and re.fullmatch(r"\w+=.*", word) is not None)


def _spoken(span: str, page: Path) -> Iterator[str]:
    """What is wrong with a span of code in a sentence: `edgecell VERB …` or `--flag VALUE`."""
    words = span.split()
    if words[0] == "edgecell" and len(words) > 1:
        command, path, rest = _resolve(words[1:])
        if isinstance(command, click.Group) and rest and re.fullmatch(r"[a-z].*", rest[0]):
            yield f"no command '{' '.join([*path, rest[0]])}'"
            return
        known = _flags_of(command)
        where = " ".join(["edgecell", *path])
    elif words[0].startswith("-"):
        rest, (known, where) = words, _flags_here(page.stem)
    else:
        return
    for word in rest:
        for flag in word.split("/"):
            name = flag.split("=")[0].rstrip(",;.")
            if re.fullmatch(r"--?[a-z][\w-]*", name) and name not in known:
                yield f"{where} has no {name}"


def _resolve(words: list[str]) -> tuple[click.Command, list[str], list[str]]:
    """The command that ``words`` call as far as they name one, its words, and the others."""
    command: click.Command = cli
    path: list[str] = []
    rest = list(words)
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        path.append(rest.pop(0))
        command = command.commands[path[-1]]
    return command, path, rest


@functools.cache
def _flags_of(command: click.Command) -> frozenset[str]:
    names = {"-h", "--help"}
    for option in command.params:
        names |= {*option.opts, *option.secondary_opts}
    if isinstance(command, click.Group):
        names |= {name for inner in command.commands.values() for name in _flags_of(inner)}
    return frozenset(names)


def _flags_here(page: str) -> tuple[frozenset[str], str]:
    """A verb's page speaks of that verb's flags; other flags are written with their verb."""
    command = cli.commands.get(page, cli)
    return _flags_of(command), f"edgecell {page}" if command is not cli else "edgecell"


def _links(page: Path, prose: str) -> Iterator[tuple[str, str]]:
    for target in _LINK.findall(prose):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        if not linked.exists():
            yield target, "there is no such file"
        elif anchor and anchor not in {_slug(title) for title in _HEADING.findall(_prose(linked))}:
            yield target, f"{linked.name} has no such heading"


def _slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def _files(prose: str) -> list[str]:
    """Files of the repository that spans of code name."""
    return [span for span in _SPAN.findall(prose) if _OF_THE_REPOSITORY.fullmatch(span)]


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))
