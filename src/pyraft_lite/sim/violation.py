"""What a simulation is there to find."""


class Violation(Exception):
    """Something happened that must not, or did not happen that must.

    Attributes:
        invariant: The name of what was violated.
        at: When, in seconds of virtual time; set by the simulation.
    """

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        self.at = 0.0
