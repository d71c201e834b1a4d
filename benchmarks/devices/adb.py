"""An Android phone behind adb: LiteRT's benchmark_model runs there, times come back, answers do not.

Written to the tools' documentation and tested on recorded output of real phones and with a scripted
adb; it has not been run on a phone here.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.devices import benchmark_model as tool
from benchmarks.devices.interface import (
    Answer,
    DeviceError,
    Measured,
    no_latency,
    no_throughput,
)
from benchmarks.devices.session import Job, Say, threads_text
from benchmarks.footprint import no_memory
from benchmarks.options import BenchOptions
from edgecell import __version__

_SERIAL = re.compile(r"[\w.:-]+")
_CALL_SECONDS = 120.0  # for a file to go there, or a question
_MARGIN_SECONDS = 120.0  # beside the measuring itself
_HOUR = 3600.0
_FOLDER = "/data/local/tmp"
_NO_ANSWERS = (
    "benchmark_model feeds values of its own and returns no answers; verify them on 'qemu-arm64'"
)
_PROPERTIES = {
    "maker": "ro.product.manufacturer",
    "model": "ro.product.model",
    "chip": "ro.soc.model",
    "board": "ro.board.platform",
    "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
}
_NOTES = (
    "Measured by LiteRT's benchmark_model on the phone: the invoke alone, on random values. One file after the "
    "other, each in a process of its own; memory is how much that process grew, by its own account.",
    "Phones clock down as they warm up: measure twice, and let it cool in between.",
)


class Adb:
    """``adb`` or ``adb:SERIAL``; ``program`` is a benchmark_model built for the phone.

    Raises:
        DeviceError: no adb here, no program, or not one that could run there.
    """

    kind = "adb"

    def __init__(self, serial: str, program: str) -> None:
        if serial and _SERIAL.fullmatch(serial) is None:
            raise DeviceError(f"'adb:{serial}': no serial number; 'adb devices' lists them")
        if shutil.which("adb") is None:
            raise DeviceError(
                "no adb on this machine; install Android's platform tools (Debian: apt-get install adb)"
            )
        if not program:
            raise DeviceError(
                "--device adb needs --benchmark-model PATH: LiteRT's benchmark_model for Android"
                " (android_aarch64), which is built or downloaded beforehand"
            )
        self._program = Path(program)
        if not self._program.is_file():
            raise DeviceError(
                f"no file at {program}; --benchmark-model names LiteRT's benchmark_model"
            )
        self._adb = ["adb", *(["-s", serial] if serial else [])]

    def measure(
        self, jobs: Sequence[Job], options: BenchOptions, reference: int | None, say: Say
    ) -> Measured:
        """See :class:`benchmarks.devices.interface.Device`."""
        say("looking for the phone", 0.0)
        self._check()
        facts = self._facts()
        threads = list(dict.fromkeys(count or facts["cores"] for count in options.threads))
        left: list[str] = []
        answers = []
        try:
            with self._folder(left) as folder:
                self._call("push", str(self._program), f"{folder}/benchmark_model")
                self._shell(f"chmod 755 {folder}/benchmark_model")
                for i, job in enumerate(jobs):
                    model = f"{folder}/{i}.tflite"
                    self._call("push", str(job.path), model)
                    told: list[tool.Told | str] = []
                    for k, count in enumerate(threads):
                        done = (i + k / len(threads)) / len(jobs)
                        say(f"{job.name}, {threads_text(count)}", done)
                        told.append(self._run(folder, model, count, options))
                    answers.append(_answer(told, threads, options))
        except DeviceError as error:
            raise DeviceError("; ".join([str(error), *left])) from error
        name = " ".join(filter(None, (facts["maker"], facts["model"])))
        return Measured(
            name or "a phone without a name", facts, answers, notes=_NOTES, warnings=tuple(left)
        )

    @contextmanager
    def _folder(self, left: list[str]) -> Iterator[str]:
        """A folder of our own on the phone, gone at the end; else ``left`` gets a line that says so.

        That it stays is no reason to lose what was measured, or to hide why nothing was.
        """
        folder = f"{_FOLDER}/edgecell-{secrets.token_hex(6)}"
        self._shell(f"mkdir {folder}")
        try:
            yield folder
        finally:
            try:
                self._shell(f"rm -rf {folder}")
            except DeviceError:
                left.append(f"{folder} is still on the phone: run 'adb shell rm -rf {folder}'")

    def _check(self) -> None:
        """The phone is there and lets us in."""
        done = self._adb_run("get-state")
        if done.returncode == 0 and done.stdout.strip() == "device":
            return
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1][:200]
        advice = "'adb devices' lists what is there"
        if "unauthorized" in said:
            advice = "unlock the phone and allow this computer's key"
        elif "more than one" in said:
            advice = "name one with --device adb:SERIAL; 'adb devices' lists them"
        elif "no devices" in said:
            advice = "plug one in and switch USB debugging on"
        raise DeviceError(f"adb reaches no phone ({said}); {advice}")

    def _facts(self) -> dict[str, Any]:
        found = {key: self._shell(f"getprop {name}").strip() for key, name in _PROPERTIES.items()}
        cores = self._shell("nproc").strip()
        governor = self._shell(
            "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null || true"
        ).strip()
        chip = found["chip"] or found["board"] or "unknown chip"
        return {
            "cpu": chip,
            "board": None,
            "cores": int(cores) if cores.isdigit() else 1,
            "governor": governor or None,
            "system": f"Android {found['android']}, {found['abi']}",
            "versions": {"edgecell": __version__},
            "load_average_1min": None,
            "busy_before": None,
            "maker": found["maker"],
            "model": found["model"],
        }

    def _run(self, folder: str, model: str, threads: int, options: BenchOptions) -> tool.Told | str:
        """One run of the tool, or why it gave no figures."""
        pace = options.pace
        # Its runs and seconds are both least; with "either" the seconds become the most.
        least, most = (0.0, pace.seconds or _HOUR) if pace.either else (pace.seconds, _HOUR)
        command = (
            f"{folder}/benchmark_model --graph={model} --num_threads={threads}"
            f" --num_runs={pace.runs} --min_secs={least:g} --max_secs={most:g}"
            f" --warmup_runs={pace.warmup_runs} --use_xnnpack={str(options.xnnpack).lower()} 2>&1"
        )
        try:
            output = self._shell(f"{command} || true", seconds=most + _MARGIN_SECONDS)
            return tool.read(output, xnnpack=options.xnnpack)
        except tool.NoFigures as error:
            return f"benchmark_model gave no figures: {error}"

    def _shell(self, script: str, *, seconds: float = _CALL_SECONDS) -> str:
        return self._call("shell", script, seconds=seconds)

    def _call(self, *arguments: str, seconds: float = _CALL_SECONDS) -> str:
        done = self._adb_run(*arguments, seconds=seconds)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise DeviceError(f"'adb {' '.join(arguments)[:80]}' failed: {said[:200]}")
        return done.stdout

    def _adb_run(
        self, *arguments: str, seconds: float = _CALL_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*self._adb, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"'adb {arguments[0]}' gave no answer for {seconds:.0f} s; the measuring was given up"
            ) from error


def _answer(
    told: Sequence[tool.Told | str], threads: Sequence[int], options: BenchOptions
) -> Answer:
    entries, memory = [], no_memory(str(told[0]))
    for count, found in zip(threads, told, strict=True):
        if isinstance(found, str):
            entries.append(no_latency(found, count))
        else:
            entries.append(tool.latency_entry(found, count))
    if isinstance(told[0], tool.Told):
        memory = tool.memory_entry(told[0])
    singly = "benchmark_model runs a file as it is, one image at a time"
    return Answer(_NO_ANSWERS, entries, no_throughput(singly, threads, options.batches), memory)
