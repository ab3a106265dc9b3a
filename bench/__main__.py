"""The command line: runs workloads, judges what they found, and shows it."""

import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from bench import curves, environment, peers, plots, processes, workloads
from bench.processes import ROOT
from bench.report import as_json, markdown
from bench.session import Options, Session, Workload
from bench.targets import judge

SCRATCH = ROOT / "build" / "bench"
"""For data: on the disk of the repository, since a temporary directory may be no disk at all."""

QUICK_SECONDS = 1.5
SECONDS = 2.0
ROUNDS = 3


def measure(session: Session, chosen: Sequence[Workload]) -> None:
    """Does everything once, then all of it again, so that whatever disturbs the machine disturbs all alike."""
    for number in range(1, session.options.rounds + 1):
        for workload in chosen:
            if number <= workload.most_rounds:
                session.say(f"== round {number} of {session.options.rounds}: {workload.title}")
                with session.trying(workload.title):
                    workload.run_round(session)


def stop(*_: object) -> None:
    """Ends the program as an exception would, so that all it has started is ended too; only once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Only unary writes and the floor beneath them, in less than three minutes.")
@click.option("--full", is_flag=True, help="Also what is too large for every day, such as a log of 10^7 entries.")
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, help="How often each measurement is made.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    help=f"How long each lasts.  [default: {SECONDS}; {QUICK_SECONDS} if quick]",
)
@click.option(
    "--only", multiple=True, type=click.Choice([each.name for each in workloads.ALL]), help="This workload; repeatable."
)
@click.option(
    "--peers",
    "names",
    multiple=True,
    type=click.Choice([each.key for each in peers.ALL]),
    help="Only this peer; repeatable.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Where to.  [default: bench/results/<time>]"
)
def main(
    quick: bool,
    full: bool,
    rounds: int,
    seconds: float | None,
    only: tuple[str, ...],
    names: tuple[str, ...],
    output: Path | None,
) -> None:
    """Measures this project's nodes beside their peers.

    Prints tables, and a JSON object in the last line; the same and plots go to the output directory.
    """
    if quick and (full or only):
        raise click.UsageError("--quick goes with neither --full nor --only")
    signal.signal(signal.SIGTERM, stop)
    options = Options(
        rounds=rounds,
        seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
        peers=[each for each in peers.ALL if not names or each.key in names],
        full=full,
    )
    chosen = workloads.QUICK if quick else [each for each in workloads.ALL if not only or each.name in only]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    output = output or ROOT / "bench" / "results" / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH, ignore_cleanup_errors=True) as scratch:
        session = Session(options, Path(scratch))
        machine = environment.describe(session.scratch, options.rounds, options.seconds)
        try:
            measure(session, chosen)
        except KeyboardInterrupt:
            session.note("interrupted", "the rest was not measured")
        finally:
            processes.kill_children()
    verdicts = judge(session.results)
    text = markdown(machine, session.results, verdicts, chosen)
    summary = as_json(machine, session.results, verdicts)
    (output / "results.md").write_text(text)
    (output / "results.json").write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    as_curves = curves.as_json(session.results, [each.name for each in workloads.ALL])
    (output / "curves.json").write_text(json.dumps(as_curves) + "\n")
    plots.draw(session.results, output)
    print(text)
    print(json.dumps(summary, ensure_ascii=False))


if __name__ == "__main__":
    main(prog_name="scripts/bench")
