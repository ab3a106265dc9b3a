"""raftadmin: asks and changes a node, or the leader of a cluster, through its RaftAdmin service."""

import contextlib
import re
import sys
from datetime import datetime
from typing import Any, NoReturn

import click
import grpc
from google.protobuf import message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from pyraft_lite.rpc.client import RAFT_LEADER, channel_options
from pyraft_lite.rpc.pb import raft_admin_pb2 as pb
from pyraft_lite.rpc.targets import grpc_target

SERVICE = pb.DESCRIPTOR.services_by_name["RaftAdmin"]
MAX_UINT64 = 2**64 - 1
FORGET_TIMEOUT = 1.0


def log(text: str) -> None:
    """A line on stderr, with the time in front as Go's log package has it."""
    print(f"{datetime.now():%Y/%m/%d %H:%M:%S} {text}", file=sys.stderr)


def fail(text: str) -> NoReturn:
    """Says what is wrong and ends with exit code 1."""
    log(text)
    sys.exit(1)


def command_name(method: MethodDescriptor) -> str:
    """``AddVoter`` as it is usually typed: ``add_voter``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()


def find_method(command: str) -> MethodDescriptor | None:
    """The method a command means, in any letter case and with any separators."""
    wanted = re.sub(r"[-_\s]", "", command).lower()
    return next((method for method in SERVICE.methods if method.name.lower() == wanted), None)


def parse_request(method: MethodDescriptor, command: str, arguments: tuple[str, ...]) -> Message:
    """The request that the arguments make, one for each of its fields in the order of their numbers."""
    fields = sorted(method.input_type.fields, key=lambda field: field.number)
    if len(fields) != len(arguments):
        fail(" ".join(["Usage: raftadmin <host:port>", command, *(f"<{field.name}>" for field in fields)]))
    request = message_factory.GetMessageClass(method.input_type)()
    for field, argument in zip(fields, arguments, strict=True):
        setattr(request, field.name, parse_value(field, argument))
    return request


def parse_value(field: FieldDescriptor, text: str) -> str | bytes | int:
    """An argument as a value of the field's type."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    if field.type == FieldDescriptor.TYPE_BYTES:
        return text.encode(errors="surrogateescape")
    if not (text.isascii() and text.isdigit()):
        fail(f'{field.name}: parsing "{text}": invalid syntax, must be a whole number from 0 to {MAX_UINT64}')
    if int(text) > MAX_UINT64:
        fail(f'{field.name}: parsing "{text}": value out of range, must be from 0 to {MAX_UINT64}')
    return int(text)


def text_of(message: Message) -> str:
    """A message as Go prints it: its text format, with a colon before nested messages too."""
    text = text_format.MessageToString(message, as_utf8=True)
    return re.sub(r"^( *\w+) \{$", r"\1: {", text, flags=re.MULTILINE)


class Admin:
    """Calls methods of RaftAdmin, and tells what goes to and fro."""

    def __init__(self, channel: grpc.Channel, target: str, timeout: float) -> None:
        self._channel = channel
        self._target = target
        self._timeout = timeout

    def run(self, method: MethodDescriptor, request: Message) -> None:
        """Calls a method; of an operation, waits for the outcome. Ends the process with 1 if it fails."""
        response = self.invoke(method, request)
        if not isinstance(response, pb.Future):
            return
        outcome = self.invoke(SERVICE.methods_by_name["Await"], response)
        with contextlib.suppress(grpc.RpcError):  # the node drops it in time; there may be no leader to ask now
            self.call(SERVICE.methods_by_name["Forget"], response, FORGET_TIMEOUT)
        if isinstance(outcome, pb.AwaitResponse) and outcome.error:
            sys.exit(1)

    def invoke(self, method: MethodDescriptor, request: Message) -> Message:
        """Calls a method and prints request and response."""
        log(f"Invoking {method.name}({text_of(request)})")
        try:
            response = self.call(method, request, self._timeout)
        except grpc.RpcError as error:
            fail(self.describe(method, request, error))
        log(f"Response: {text_of(response)}".rstrip())
        return response

    def call(self, method: MethodDescriptor, request: Message, timeout: float) -> Message:
        call = self._channel.unary_unary(
            f"/{SERVICE.full_name}/{method.name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        response: Message = call(request, timeout=timeout, wait_for_ready=True)
        return response

    def describe(self, method: MethodDescriptor, request: Message, error: Any) -> str:
        """An error as Go prints it, but for one that only says that the time is up."""
        code = error.code()
        details = error.details()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no answer from {self._target} within {self._timeout:g} s"
            if isinstance(request, pb.Future):
                details += f"; the operation may still be under way: {command_name(method)} {request.operation_token}"
        name = "".join(word.capitalize() for word in code.name.split("_"))
        return f"rpc error: code = {name} desc = {details}"


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
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each answer, and for the outcome of an operation.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="TARGET COMMAND [ARGS]...")
def main(leader: bool, health_check_service: str, timeout: float, arguments: tuple[str, ...]) -> None:
    """Asks or changes the node at TARGET: host:port, dns:///host:port, or multi:///a:1,b:2,c:3.

    COMMAND is a method of the RaftAdmin service in any spelling: add_voter, AddVoter, add-voter. Without any, they are
    listed.
    """
    if len(arguments) < 2:
        commands = ", ".join(sorted(command_name(method) for method in SERVICE.methods))
        fail(f"Usage: raftadmin <host:port> <command> <args...>\nCommands: {commands}")
    target, command, *rest = arguments
    method = find_method(command)
    if method is None:
        fail(f'unknown command "{command}"')
    request = parse_request(method, command, tuple(rest))
    try:
        address = grpc_target(target)
    except ValueError as error:
        fail(str(error))
    with grpc.insecure_channel(address, options=channel_options(health_check_service if leader else None)) as channel:
        Admin(channel, target, timeout).run(method, request)


if __name__ == "__main__":
    main()
