"""gRPC's interoperability test cases, with grpc-go as the client, on every engine."""

import asyncio
import json
from asyncio.subprocess import PIPE

import pytest
from echo_service import echoing
from mixed_cluster import ROOT

from pyraft_lite.rpc.engine import available_engines, new_engine

PROGRAM = ROOT / "build" / "interop" / "bin" / "cases"

REFUSED_BY_H2CORN = {"several_authorities"}
"""docs/engines.md says why; when there is none left, h2corn need no longer be second."""


async def run(address: str, *names: str) -> dict[str, str]:
    """The error of each case; empty if there is none."""
    process = await asyncio.create_subprocess_exec(PROGRAM, "--server", address, *names, stdout=PIPE)
    printed, _ = await process.communicate()
    outcomes = [json.loads(line) for line in printed.splitlines()]
    errors = {outcome["case"]: outcome["error"] for outcome in outcomes}
    assert process.returncode == any(errors.values())
    return errors


@pytest.mark.parametrize("name", available_engines())
async def test_every_case_goes_well(name: str) -> None:
    async with echoing(new_engine(name)) as (_, address):
        errors = await run(address)
    assert len(errors) == 21
    assert {case for case, error in errors.items() if error} == (REFUSED_BY_H2CORN if name == "h2corn" else set()), (
        errors
    )


@pytest.mark.parametrize("name", available_engines())
async def test_a_cancelled_call_ends_on_the_server(name: str) -> None:
    async with echoing(new_engine(name)) as (service, address):
        assert await run(address, "cancel_after_first_response") == {"cancel_after_first_response": ""}
        assert await service.ended == "cancelled"
