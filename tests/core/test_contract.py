"""The contract with who drives a Core, kept through whatever happens: every token and every RPC comes back exactly
once, a Tick leaves no deadline behind, writes are numbered in order, and a node that stopped has no more to say."""

import random

import pytest
from driver import Node, follower, new_leader, peer

from pyraft_lite.core import Settings, State
from pyraft_lite.core.configuration import Change, ChangeCommand
from pyraft_lite.core.effects import Note, RoleChanged, Send, StoreRestore, Write
from pyraft_lite.core.events import (
    ChangeMembership,
    LeaderGone,
    ReadIndex,
    RestoreFailed,
    RestoreState,
    RestoreStored,
    Shutdown,
    SnapshotTaken,
    TransferLeadership,
)
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    RequestPreVoteRequest,
    RequestVoteRequest,
    TimeoutNowRequest,
)
from pyraft_lite.core.snapshot import SnapshotMeta

STEPS = 400


class Chance:
    """Does something to a node, over and over, by chance."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        settings = Settings(
            max_in_flight=2, trailing_logs=self.rng.choice([0, 3]), lease_reads=True, shutdown_on_remove=False
        )
        self.node: Node = follower("ABC", settings=settings)
        self.tokens: list[str] = []
        self.restores: list[StoreRestore] = []
        self.last_seq = 0

    def run(self) -> None:
        actions = [self.tick] * 6 + [self.write] * 5 + [self.answer] * 15 + [self.fail, self.propose, self.propose]
        actions += [self.read, self.change, self.transfer, self.restore, self.end_restore, self.snapshot, self.request]
        for _ in range(STEPS):
            self.rng.choice(actions)()
            self.look()
        self.node.step(Shutdown())

    def look(self) -> None:
        for effect in self.node.effects:
            if isinstance(effect, StoreRestore):
                self.restores.append(effect)
            if isinstance(effect, Write):
                assert effect.seq == self.last_seq + 1
                self.last_seq = effect.seq
        self.node.effects = []

    def token(self) -> str:
        self.tokens.append(f"token {len(self.tokens)}")
        return self.tokens[-1]

    def who(self) -> str:
        return self.rng.choice("ABCDE")

    def tick(self) -> None:
        if self.rng.random() < 0.5 and self.node.core.deadline() is not None:  # it may be the only voter
            self.node.tick_at_deadline()
        else:
            self.node.tick(after=self.rng.random() / 10)

    def write(self) -> None:
        self.node.durable(1)

    def answer(self) -> None:
        if sends := list(self.node.unanswered.values()):
            send = self.rng.choice(sends)
            append = isinstance(send.request, AppendEntriesRequest) and not send.request.is_heartbeat
            if append and self.rng.random() < 0.1:
                self.node.answer(
                    send,
                    AppendEntriesResponse(
                        send.request.term, self.rng.randrange(50), False, no_retry_backoff=self.rng.random() < 0.5
                    ),
                )
            elif append and self.rng.random() < 0.01:
                self.node.answer(send, AppendEntriesResponse(self.node.core.term + 1, 0, False))
            else:
                self.node.answer(send)

    def fail(self) -> None:
        if sends := list(self.node.unanswered.values()):
            self.node.fail(self.rng.choice(sends))

    def propose(self) -> None:
        self.node.propose(*(self.token() for _ in range(self.rng.randrange(1, 4))))

    def read(self) -> None:
        self.node.step(ReadIndex(self.token(), lease=self.rng.random() < 0.5))

    def change(self) -> None:
        who = self.who()
        command = self.rng.choice(list(ChangeCommand))
        self.node.step(ChangeMembership(self.token(), Change(command, who, peer(who).address)))

    def transfer(self) -> None:
        self.node.step(TransferLeadership(self.token(), self.rng.choice(["", *"ABCDE"])))

    def restore(self) -> None:
        self.node.step(RestoreState(self.token()))

    def end_restore(self) -> None:
        if self.restores:
            store = self.restores.pop(0)
            if self.rng.random() < 0.3:
                self.node.step(RestoreFailed(store.token, "disk full"))
            else:
                meta = SnapshotMeta(
                    str(store.token), store.index, store.term, store.configuration, store.configuration_index, 1
                )
                self.node.step(RestoreStored(store.token, meta))

    def snapshot(self) -> None:
        core = self.node.core
        if core.commit_index > core.log.snapshot_index:
            self.node.step(SnapshotTaken(core.snapshot_point(core.commit_index)))

    def request(self) -> None:
        core, who = self.node.core, self.rng.choice("BCX")
        term = core.term + self.rng.choice([-1, 0, 0, 1])
        last = core.log.last_index, core.log.last_term
        if core.state is not State.LEADER and self.rng.random() < 0.5:
            self.node.step(LeaderGone(peer(who).address))
        self.node.receive(
            self.rng.choice(
                [
                    AppendEntriesRequest(term, peer(who)),
                    AppendEntriesRequest(term, peer(who), *last),
                    RequestPreVoteRequest(term, peer(who), *last),
                    RequestVoteRequest(term, peer(who), *last, self.rng.random() < 0.3),
                    TimeoutNowRequest(peer(who)),
                ]
            )
        )


@pytest.mark.parametrize("seed", range(60))
def test_every_token_and_every_rpc_comes_back_exactly_once(seed):
    chance = Chance(seed)
    chance.run()
    assert set(chance.node.outcomes) == set(chance.tokens)
    assert chance.node.waiting_rpcs == set()


def test_chance_comes_everywhere():
    ends: set[str] = set()
    for seed in range(20):
        chance = Chance(seed)
        chance.run()
        ends |= {type(getattr(end, "error", end)).__name__ for end in chance.node.outcomes.values()}
    assert {"int", "Complete", "ReadReady", "NotLeaderError", "LeadershipLostError", "AbortedByRestoreError"} <= ends


def test_a_step_sends_first_then_writes_then_does_the_rest():
    node = new_leader("ABC")
    kinds = [type(effect) for effect in node.effects]
    first = kinds.index(Write)
    assert set(kinds[:first]) == {Send}
    assert kinds.count(Write) == 1
    assert {Note, RoleChanged} <= set(kinds[first:])
    assert Send not in kinds[first:]
