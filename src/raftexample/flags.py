"""Types of command line flags that the programs share."""

import math
from typing import Any

import click

A_DAY = 86_400.0


class Seconds(click.FloatRange):
    """A number of seconds above 0 and up to a day."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True, max=A_DAY)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds
