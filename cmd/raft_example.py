"""raft-example: one node of the replicated word tracker."""

import sys
from datetime import timedelta
from pathlib import Path

import click
import durationpy

from pyraft_lite.core.errors import RaftError
from pyraft_lite.core.settings import MAX_APPEND_ENTRIES, Settings
from pyraft_lite.process import run_process
from pyraft_lite.rpc.address import split_address
from pyraft_lite.rpc.engine import ENGINES, available_engines
from pyraft_lite.rpc.listening import ListenError
from pyraft_lite.runtime import Config
from raftexample.logs import FORMATS, LEVELS, configure
from raftexample.node import DEFAULT_MAX_CALLS, NodeOptions, run_node

DEFAULTS = Settings()


class Duration(click.ParamType[float]):
    """A duration in Go's notation, such as 500ms, 1.5s or 2m; a float of seconds in Python."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            duration: timedelta = durationpy.from_str(str(value))
        except durationpy.DurationError:
            self.fail(f"{value!r} is not a duration such as 500ms, 1.5s or 2m", param, ctx)
        return duration.total_seconds()


class Address(click.ParamType[str]):
    """A ``host:port``."""

    name = "host:port"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            split_address(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return value


class RaftId(click.ParamType[str]):
    """A node's name, which also names its directory."""

    name = "name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value or value in (".", "..") or "/" in value or "\0" in value:
            self.fail(f"{value!r} can't name a directory: use letters, digits, '.', '-' or '_'", param, ctx)
        return value


class Engine(click.Choice[str]):
    """An engine that is installed."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = super().convert(value, param, ctx)
        if name not in available_engines():
            self.fail(f"{name} is not installed: pip install 'raftexample[{name}]' installs it", param, ctx)
        return name


def seconds(value: float) -> str:
    """A default as it would be typed."""
    return durationpy.to_str(timedelta(seconds=value)) or "0s"


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--raft_id", type=RaftId(), required=True, help="The node's id in the cluster; never change it.")
@click.option("--address", type=Address(), default="localhost:50051", help="Where peers and clients reach this node.")
@click.option("--listen", type=Address(), default=None, help="Where to listen, if not on --address.")
@click.option(
    "--raft_data_dir", type=click.Path(path_type=Path), default=Path("data/"), help="Holds a directory per id."
)
@click.option("--raft_bootstrap", is_flag=True, help="Begin a new cluster with this node as its only voter.")
@click.option(
    "--forward_to_leader", is_flag=True, help="Pass AddWord, AddWords and linearizable GetWords on to the leader."
)
@click.option("--exit_on_shutdown", is_flag=True, help="End the process when Raft is shut down or removed.")
@click.option("--heartbeat_timeout", type=Duration(), default=seconds(DEFAULTS.heartbeat_timeout))
@click.option("--election_timeout", type=Duration(), default=seconds(DEFAULTS.election_timeout))
@click.option("--leader_lease_timeout", type=Duration(), default=seconds(DEFAULTS.leader_lease_timeout))
@click.option("--commit_timeout", type=Duration(), default=seconds(DEFAULTS.commit_timeout))
@click.option("--snapshot_interval", type=Duration(), default="2m", help="How often to look whether a snapshot is due.")
@click.option("--snapshot_threshold", type=int, default=8192, help="Entries after which a snapshot is due.")
@click.option("--trailing_logs", type=int, default=DEFAULTS.trailing_logs, help="Entries kept after a snapshot.")
@click.option("--max_append_entries", type=int, default=MAX_APPEND_ENTRIES, help="Most entries in one message.")
@click.option("--grpc_engine", type=Engine(ENGINES), default=available_engines()[0], help="What serves the port.")
@click.option(
    "--max_calls", type=click.IntRange(1), default=DEFAULT_MAX_CALLS, help="Client calls at a time; more are refused."
)
@click.option("--log_level", type=click.Choice(LEVELS, case_sensitive=False), default="info")
@click.option("--log_format", type=click.Choice(FORMATS), default="text")
def main(
    raft_id: str,
    address: str,
    listen: str | None,
    raft_data_dir: Path,
    raft_bootstrap: bool,
    forward_to_leader: bool,
    exit_on_shutdown: bool,
    heartbeat_timeout: float,
    election_timeout: float,
    leader_lease_timeout: float,
    commit_timeout: float,
    snapshot_interval: float,
    snapshot_threshold: int,
    trailing_logs: int,
    max_append_entries: int,
    grpc_engine: str,
    max_calls: int,
    log_level: str,
    log_format: str,
) -> None:
    """Runs one node of a replicated service that keeps the three longest words it was given.

    It stops on SIGTERM or SIGINT, after handing leadership to another node.
    """
    configure(log_level, log_format)
    try:
        config = Config(
            local_id=raft_id,
            local_address=address,
            snapshot_interval=snapshot_interval,
            snapshot_threshold=snapshot_threshold,
            apply_on_loop=True,  # It compares a few short words.
            settings=Settings(
                heartbeat_timeout=heartbeat_timeout,
                election_timeout=election_timeout,
                leader_lease_timeout=leader_lease_timeout,
                commit_timeout=commit_timeout,
                trailing_logs=trailing_logs,
                max_append_entries=max_append_entries,
            ),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options = NodeOptions(
        raft=config,
        listen=listen or address,
        data_dir=raft_data_dir,
        bootstrap=raft_bootstrap,
        forward_to_leader=forward_to_leader,
        exit_on_shutdown=exit_on_shutdown,
        grpc_engine=grpc_engine,
        max_calls=max_calls,
    )
    try:
        run_process(run_node(options))
    except (RaftError, ListenError) as error:
        print(f"raft-example: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
