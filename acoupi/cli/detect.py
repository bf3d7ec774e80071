"""``acoupi detect``: a program's model over existing sound files."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from acoupi import data

__all__ = ["detect"]

COLUMNS = (
    "file",
    "start_s",
    "end_s",
    "low_hz",
    "high_hz",
    "score",
    "tag",
    "tag_score",
    "model",
)


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILES...",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print what was found.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, which appears when all is done.",
)
@click.option(
    "--program",
    metavar="MODULE",
    help="Use this program's model with default settings (default: what is set up).",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Show detections from this score on (default: as configured).",
)
@click.option("--no-progress", is_flag=True, help="Show no progress bar.")
@click.pass_context
def detect(
    context: click.Context,
    files: tuple[Path, ...],
    form: Literal["table", "csv", "json"],
    as_json: bool,
    output: Path | None,
    program: str | None,
    threshold: float | None,
    no_progress: bool,
) -> None:
    """Run the program's model over sound files, or folders of them.

    Nothing is stored and the files stay as they are. Files that are not there or
    cannot be read are named at the end, with exit code 1; the others are analysed.
    """
    form = "json" if as_json else form
    paths, failures = _sound_files(files)
    model, cleaners = _prepare(program, threshold)
    total = len(paths) + len(failures)

    def results() -> Iterator[tuple[Path, data.ModelOutput]]:
        for path in _with_progress(paths, shown=not no_progress):
            try:
                yield path, _analyse(path, model, cleaners)
            except Exception as error:  # noqa: BLE001 - models are others' code
                failures.append(f"{path}: {_in_words(path, error)}")

    with _target(output) as out:
        writer = {"table": _write_table, "csv": _write_csv, "json": _write_json}[form]
        writer(results(), out)
    for failure in failures:
        click.echo(f"{click.style('Error:', fg='red')} {failure}", err=True)
    if failures:
        click.echo(f"{len(failures)} of {total} files failed.", err=True)
        context.exit(1)


def _sound_files(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the sound files there are, and what is wrong with the other paths."""
    from acoupi.audio.soundfiles import SOUND_SUFFIXES
    from acoupi.errors import ConfigurationError

    found: list[Path] = []
    missing: list[str] = []
    for path in given:
        if path.is_dir():
            inside = sorted(
                file
                for file in path.rglob("*")
                if file.suffix.lower() in SOUND_SUFFIXES and file.is_file()
            )
            if not inside:
                missing.append(f"the folder {path} holds no sound file")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            missing.append(f"there is no file or folder {path}")
    if not found:
        raise ConfigurationError("; ".join(missing))
    return found, missing


def _prepare(program: str | None, threshold: float | None) -> tuple[Any, list[Any]]:
    from acoupi.cli.programs import model_of
    from acoupi.system import Settings, load_config, load_program
    from acoupi.system.configuration import read_program_name
    from acoupi.system.parsing import parse_config_from_args

    settings = Settings()
    name = program or read_program_name(settings)
    chosen = load_program(name)
    if program is None or (settings.is_set_up and read_program_name(settings) == name):
        config: Any = load_config(settings)
    else:
        config = parse_config_from_args(chosen.get_config_schema(), [], prompt=False)
    detections: Any = getattr(config, "detections", None)
    if threshold is not None and hasattr(detections, "threshold"):
        changed = detections.model_copy(update={"threshold": threshold})
        config = config.model_copy(update={"detections": changed})
    model, cleaners = model_of(chosen, config)
    if threshold is not None:
        from acoupi.components.cleaners import ThresholdDetectionCleaner

        cleaners.append(ThresholdDetectionCleaner(threshold))
    return model, cleaners


def _analyse(path: Path, model: Any, cleaners: Sequence[Any]) -> data.ModelOutput:
    from acoupi import data as flow
    from acoupi.audio.soundfiles import read_recording

    recording = read_recording(path, flow.Deployment(name="files"))
    output: data.ModelOutput = model.run(recording)
    for cleaner in cleaners:
        output = cleaner.clean(output)
    return output


def _in_words(path: Path, error: Exception) -> str:
    from acoupi.errors import AcoupiError

    if isinstance(error, AcoupiError):
        return str(error).removeprefix(f"{path}: ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}"


def _with_progress(paths: Sequence[Path], *, shown: bool) -> Iterator[Path]:
    if not (shown and sys.stderr.isatty()):
        yield from paths
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(paths))
        for path in paths:
            progress.update(task, description=path.name[-40:])
            yield path
            progress.advance(task)


@contextlib.contextmanager
def _target(output: Path | None) -> Iterator[TextIO]:
    """Yield where to write; a file appears complete or not at all."""
    if output is None:
        yield sys.stdout
        return
    import os
    import tempfile

    from acoupi.errors import ConfigurationError
    from acoupi.system.files import sync_directory

    try:
        descriptor, name = tempfile.mkstemp(
            prefix=f".{output.name}.", dir=output.parent
        )
    except OSError as error:
        raise ConfigurationError(
            f"--output {output} cannot be written: {error.strerror}"
        ) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_directory(output.parent)


def _rows(path: Path, output: data.ModelOutput) -> Iterator[tuple[Any, ...]]:
    def in_order(detection: data.Detection) -> tuple[float, float]:
        place = detection.location
        start = place.coordinates[0] if place else 0.0
        return start, -detection.detection_score

    for detection in sorted(output.detections, key=in_order):
        place = detection.location
        start, low, end, high = place.coordinates if place else (None,) * 4
        tag = detection.tags[0] if detection.tags else None
        yield (
            path,
            start,
            end,
            low,
            high,
            detection.detection_score,
            f"{tag.tag.key}:{tag.tag.value}" if tag else None,
            tag.confidence_score if tag else None,
            output.name_model,
        )


def _write_csv(results: Iterable[tuple[Path, data.ModelOutput]], out: TextIO) -> None:
    import csv

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, output in results:
        for row in _rows(path, output):
            writer.writerow(["" if cell is None else cell for cell in row])


def _write_json(results: Iterable[tuple[Path, data.ModelOutput]], out: TextIO) -> None:
    import json

    # Written piece by piece: a year of recordings need not fit into memory.
    out.write("[")
    separator = "\n"
    for path, output in results:
        found = [
            dict(zip(COLUMNS[1:], row[1:], strict=True)) for row in _rows(path, output)
        ]
        entry = {
            "file": str(path),
            "recorded_on": output.recording.created_on.isoformat(),
            "duration_s": output.recording.duration,
            "samplerate_hz": output.recording.samplerate,
            "model": output.name_model,
            "detections": found,
        }
        out.write(separator + json.dumps(entry, ensure_ascii=False))
        separator = ",\n"
    out.write("\n]\n" if separator == ",\n" else "]\n")


def _write_table(results: Iterable[tuple[Path, data.ModelOutput]], out: TextIO) -> None:
    form = "{:>9}  {:>9}  {:>17}  {:>6}  {}\n"
    total = files = 0
    for path, output in results:
        files += 1
        out.write(f"{path}: {_count(len(output.detections), 'detection')}\n")
        rows = list(_rows(path, output))
        if rows:
            out.write(form.format("START s", "END s", "BAND kHz", "SCORE", "TAG"))
        for _, start, end, low, high, score, tag, _, _ in rows:
            total += 1
            out.write(
                form.format(
                    _number(start, 2),
                    _number(end, 2),
                    "-" if low is None else f"{low / 1000:.2f}-{high / 1000:.2f}",
                    _number(score, 2),
                    tag or "-",
                )
            )
    out.write(f"{_count(total, 'detection')} in {_count(files, 'file')}\n")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
