"""raftadmin: asks and changes a node, or the leader of a cluster, through its RaftAdmin service."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from datetime import datetime

import click
import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from pyraft_lite.process import run_process
from pyraft_lite.rpc.client import RAFT_LEADER, channel_options, find_leader
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.rpc.targets import grpc_target
from raftexample.flags import Seconds
from raftexample.textformat import multi_line

SERVICE = pb.DESCRIPTOR.services_by_name["RaftAdmin"]
MAX_UINT64 = 2**64 - 1

OUTCOME_TIMEOUTS = 6
"""In timeouts: how long to wait for the outcome of an operation. A new voter may need its time to catch up (R11)."""

SHORT_TIMEOUT = 1.0
"""Seconds for what is not worth more."""


class AdminError(Exception):
    """What went wrong, as it is printed."""


def log(text: str) -> None:
    """A line on stderr, with the time in front as Go's log package has it."""
    print(f"{datetime.now():%Y/%m/%d %H:%M:%S} {text}", file=sys.stderr)


# -- the command line -------------------------------------------------------------------------------------------------


def command_name(method: MethodDescriptor) -> str:
    """``AddVoter`` as it is usually typed: ``add_voter``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()


def find_method(command: str) -> MethodDescriptor:
    """The method a command means, in any letter case and with any separators."""
    wanted = re.sub(r"[-_\s]", "", command).lower()
    for method in SERVICE.methods:
        if method.name.lower() == wanted:
            return method
    raise AdminError(f'unknown command "{command}"')


def parse_request(method: MethodDescriptor, command: str, arguments: tuple[str, ...]) -> Message:
    """The request that the arguments make, one for each of its fields in the order of their numbers."""
    fields = sorted(method.input_type.fields, key=lambda field: field.number)
    if len(fields) != len(arguments):
        usage = ["Usage: raftadmin <host:port>", command, *(f"<{field.name}>" for field in fields)]
        raise AdminError(" ".join(usage))
    request = message_factory.GetMessageClass(method.input_type)()
    for field, argument in zip(fields, arguments, strict=True):
        setattr(request, field.name, parse_value(field, argument))
    return request


def parse_value(field: FieldDescriptor, text: str) -> str | bytes | int:
    """An argument as a value of the field's type; a number's errors begin as Go's do."""
    data = text.encode(errors="surrogateescape")  # The very bytes that were typed.
    if field.type == FieldDescriptor.TYPE_BYTES:
        return data
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise AdminError(f"invalid {field.name} {data!r}: must be UTF-8") from error
    wanted = f"{field.name} must be a whole number from 0 to {MAX_UINT64}"
    if not (text.isascii() and text.isdigit()):
        raise AdminError(f'strconv.ParseUint: parsing "{text}": invalid syntax: {wanted}')
    # No more digits than can matter: Python refuses to convert thousands of them.
    number = int(text.lstrip("0")[:21] or "0")
    if number > MAX_UINT64:
        raise AdminError(f'strconv.ParseUint: parsing "{text}": value out of range: {wanted}')
    return number


# -- the calls --------------------------------------------------------------------------------------------------------


class Admin:
    """Calls methods of one node's RaftAdmin, and tells what goes to and fro."""

    def __init__(self, channel: grpc.aio.Channel, target: str, timeout: float) -> None:
        self._channel = channel
        self._target = target
        self._timeout = timeout

    async def run(self, method: MethodDescriptor, request: Message) -> None:
        """Calls a method; of an operation, waits for the outcome.

        Raises:
            AdminError: a call failed.
            SystemExit: the operation failed, which has been printed.
        """
        response = await self.invoke(method, request)
        if isinstance(response, pb.Future):
            token = response
            response = await self.invoke(SERVICE.methods_by_name["Await"], token)
            with contextlib.suppress(grpc.aio.AioRpcError):  # The node drops the outcome in time by itself.
                await self.call(SERVICE.methods_by_name["Forget"], token, SHORT_TIMEOUT)
        if isinstance(response, pb.AwaitResponse) and response.error:
            sys.exit(1)

    async def invoke(self, method: MethodDescriptor, request: Message) -> Message:
        """Calls a method and prints request and response."""
        log(f"Invoking {method.name}({multi_line(request)})")
        timeout = self._timeout * OUTCOME_TIMEOUTS if method.name == "Await" else self._timeout
        try:
            response = await self.call(method, request, timeout)
        except grpc.aio.AioRpcError as error:
            raise AdminError(self.describe(request, timeout, error)) from error
        log(f"Response: {multi_line(response)}".rstrip())
        return response

    async def call(self, method: MethodDescriptor, request: Message, timeout: float) -> Message:
        call = self._channel.unary_unary(
            f"/{SERVICE.full_name}/{method.name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        response: Message = await call(request, timeout=timeout)
        return response

    def describe(self, request: Message, timeout: float, error: grpc.aio.AioRpcError) -> str:
        """An error as Go prints it; one that only says that the time is up says more here."""
        details = error.details()
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no answer from {self._target} within {timeout:g} s"
            if isinstance(request, pb.Future):
                details += f"; the operation may still be under way, ask again: await {request.operation_token}"
        name = "".join(word.capitalize() for word in error.code().name.split("_")).replace("Cancelled", "Canceled")
        return f"rpc error: code = {name} desc = {details}"


@contextlib.asynccontextmanager
async def connected(target: str, health_service: str | None, timeout: float) -> AsyncIterator[Admin]:
    """A connection to one node for all calls: an operation's token means nothing to the others.

    Args:
        target: The node, or nodes of which any will do.
        health_service: The health service that the node must have SERVING, None if it need not.
        timeout: Seconds for each call, for finding a leader, and for connecting.

    Raises:
        AdminError: there is no such node, or none that answers.
        ValueError: the target is invalid.
    """
    if health_service is None:
        address = grpc_target(target)
    else:
        try:
            async with asyncio.timeout(timeout):
                address = await find_leader(target, health_service)
        except TimeoutError as error:
            text = f'no leader found at {target} within {timeout:g} s: no node has "{health_service}" SERVING'
            raise AdminError(f"rpc error: code = Unavailable desc = {text}") from error
    async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
        admin = Admin(channel, target, timeout)
        try:
            async with asyncio.timeout(timeout):
                await channel.channel_ready()
        except TimeoutError as error:
            text = f"no connection to {target} within {timeout:g} s: {await reason(admin)}"
            raise AdminError(f"rpc error: code = Unavailable desc = {text}") from error
        yield admin


async def reason(admin: Admin) -> str:
    """Why there is no connection: grpc tells that to a call that fails for want of it."""
    try:
        await admin.call(SERVICE.methods_by_name["State"], pb.StateRequest(), SHORT_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return error.details() or error.code().name
    return "it has only now been made"


async def administer(
    target: str, health_service: str | None, timeout: float, method: MethodDescriptor, request: Message
) -> None:
    """Connects and calls; see :func:`connected` and :meth:`Admin.run`."""
    async with connected(target, health_service, timeout) as admin:
        await admin.run(method, request)


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "-help", "--help"]})
@click.option("--leader", "-leader", is_flag=True, help="Talk to the node among TARGET's that leads.")
@click.option(
    "--health_check_service",
    "-health_check_service",
    default=RAFT_LEADER,
    show_default=True,
    help="The health service by which the leader is known.",
)
@click.option(
    "--timeout",
    "-timeout",
    type=Seconds(),
    default=10.0,
    show_default=True,
    help=f"Seconds to find a leader, to connect, and for each answer; {OUTCOME_TIMEOUTS} times that for the outcome "
    "of an operation.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="TARGET COMMAND [ARGS]...")
def main(leader: bool, health_check_service: str, timeout: float, arguments: tuple[str, ...]) -> None:
    """Asks or changes the node at TARGET: host:port, dns:///host:port, or multi:///a:1,b:2,c:3.

    COMMAND is a method of the RaftAdmin service in any spelling: add_voter, AddVoter, add-voter. Without any, they are
    listed.
    """
    try:
        if len(arguments) < 2:
            commands = ", ".join(sorted(command_name(method) for method in SERVICE.methods))
            raise AdminError(f"Usage: raftadmin <host:port> <command> <args...>\nCommands: {commands}")
        target, command, *rest = arguments
        method = find_method(command)
        request = parse_request(method, command, tuple(rest))
        run_process(administer(target, health_check_service if leader else None, timeout, method, request))
    except (AdminError, ValueError) as error:
        log(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
