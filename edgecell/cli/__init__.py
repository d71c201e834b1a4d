"""The command line: parse, call the pipeline, print. Errors become one line and an exit code here."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from edgecell import __version__
from edgecell.cli import (
    asking,
    auditing,
    commands,
    comparing,
    data,
    peering,
    seeing,
    shipping,
    sweeping,
    terminal,
    trust,
    tuning,
    whole,
)
from edgecell.errors import EdgecellError
from edgecell.interrupts import InterruptsUncovered

INTERRUPTED = 130


class Group(click.Group):
    """Lists its commands in the order of the work rather than of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order they were added."""
        return list(self.commands)


@click.group(
    cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="edgecell")
def cli() -> None:
    """Train small medical-image classifiers, quantize them to TFLite, show how little was lost,
    and measure them where they run.

    \b
    edgecell demo                                everything, on synthetic cells, no download
    edgecell train --data bloodmnist             a run under artifacts/runs/
    edgecell tune --data bloodmnist              better settings, as a recipe
    edgecell sweep --data bloodmnist             width, input size, precision: which file to ship
    edgecell quantize RUN --int8 --float16       .tflite files from it
    edgecell verify RUN                          are they as good as the trained model?
    edgecell calibrate RUN                       when to answer, and when to abstain
    edgecell robustness RUN                      accuracy on a worse camera's images
    edgecell explain RUN                         heat maps: what the model looked at
    edgecell embed RUN                           how it sorts the images: a map of their features
    edgecell bench --model RUN/quantize/X.tflite accuracy, size and latency on test
    edgecell compare RUN OTHER_RUN               side by side, tested on the same images
    edgecell peers RUN                           beside ONNX Runtime, OpenVINO and Keras
    edgecell bundle RUN/quantize/X.tflite        a folder and a zip for an app
    edgecell audit RUN|BUNDLE                    was anything altered since?
    edgecell predict FOLDER --model X            what the model says of your images
    edgecell serve --model X                     the same as a local page
    edgecell inspect X.tflite                    what any .tflite file is

    Exit codes: 0 done, 2 wrong usage or setting, 3 data, 4 conversion, 5 not equivalent to its
    reference or worse than its baseline, 6 file missing or damaged, 130 interrupted.
    """


for command in (
    *whole.COMMANDS,
    *commands.COMMANDS,
    *whole.LAST,
    *trust.COMMANDS,
    *comparing.COMMANDS,
    *peering.COMMANDS,
    *seeing.COMMANDS,
    *shipping.COMMANDS,
    *auditing.COMMANDS,
    *asking.COMMANDS,
    *tuning.COMMANDS,
    *sweeping.COMMANDS,
    data.data,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the ``edgecell`` command; always ends the process."""
    stream = sys.stderr
    try:
        verbose = "EDGECELL_VERBOSE" in os.environ
        terminal.escape_what_cannot_be_written()
        stream = sys.stderr if verbose else terminal.quiet_native_output()
        with InterruptsUncovered():
            result: Any = cli.main(args=arguments, prog_name="edgecell", standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except EdgecellError as error:
        stream.write(f"edgecell: {' '.join(str(error).split())}\n")
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show(stream)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        goes_on = "--output" in _flags(arguments)
        more = "; the same command with the same --output goes on" if goes_on else ""
        stream.write(f"edgecell: interrupted{more}\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our stdout (head, less) is gone; nothing is left to be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except MemoryError:
        known = _flags(arguments)
        lower = [f for f in ("--batch-size", "--image-size", "--limit") if f in known]
        stream.write(f"edgecell: out of memory{'; lower ' if lower else ''}{' or '.join(lower)}\n")
        sys.exit(1)


def _flags(arguments: list[str] | None) -> set[str]:
    """The flags of the verb that was called: advice names no other."""
    command: click.Command = cli
    for word in sys.argv[1:] if arguments is None else arguments:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return {name for parameter in command.params for name in parameter.opts}
