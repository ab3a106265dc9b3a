"""Drives one Core by hand: a log in a dict, a clock that is set, dice that always fall the same."""

import random
from collections.abc import Sequence
from typing import TypeVar

from pyraft_lite.core import Core, HardState, Settings, State
from pyraft_lite.core.configuration import Configuration, Server, Suffrage
from pyraft_lite.core.effects import (
    Apply,
    CompactLog,
    Complete,
    Effect,
    Fail,
    ReadReady,
    Refuse,
    Respond,
    Send,
    SendSnapshot,
    Stopped,
    Write,
)
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.events import (
    Event,
    Proposal,
    Propose,
    Receive,
    RpcFailed,
    RpcResponse,
    Tick,
    Token,
    Written,
)
from pyraft_lite.core.messages import (
    AppendEntriesRequest,
    AppendEntriesResponse,
    InstallSnapshotResponse,
    Peer,
    Request,
    RequestPreVoteRequest,
    RequestPreVoteResponse,
    RequestVoteRequest,
    RequestVoteResponse,
    Response,
    TimeoutNowResponse,
)
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.storage import configuration_codec

E = TypeVar("E")

DIE = 0.5
"""Where the dice fall: every random timeout is 1.5 times the least."""


class Dice(random.Random):
    """Falls the same every time, so that a test can name the moment a timeout passes."""

    def random(self) -> float:
        return DIE


class DictStore:
    """A durable log in a dict."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.log = {entry.index: entry for entry in entries}

    def first_index(self) -> int:
        return min(self.log, default=0)

    def last_index(self) -> int:
        return max(self.log, default=0)

    def term(self, index: int) -> int | None:
        entry = self.log.get(index)
        return entry.term if entry else None

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        found: list[Entry] = []
        for index in range(low, high + 1):
            if index not in self.log:
                raise StorageError(f"no entry {index}")
            max_bytes -= self.log[index].size
            if max_bytes < 0 and found:
                break
            found.append(self.log[index])
        return found

    def configurations(self) -> Sequence[int]:
        return sorted(index for index, entry in self.log.items() if entry.type is EntryType.CONFIGURATION)

    def write(self, write: Write) -> None:
        if write.truncate_from is not None:
            self.log = {index: entry for index, entry in self.log.items() if index < write.truncate_from}
        self.log.update({entry.index: entry for entry in write.entries})

    def compact(self, to_index: int) -> None:
        self.log = {index: entry for index, entry in self.log.items() if index > to_index}


def peer(server_id: str) -> Peer:
    return Peer(server_id, f"{server_id.lower()}:1")


def server(server_id: str, suffrage: Suffrage = Suffrage.VOTER) -> Server:
    return Server(server_id, peer(server_id).address, suffrage)


def members(voters: str, nonvoters: str = "") -> Configuration:
    """The configuration of these one-letter ids."""
    return Configuration((*map(server, voters), *(server(one, Suffrage.NONVOTER) for one in nonvoters)))


def configuration_entry(index: int, term: int, configuration: Configuration) -> Entry:
    return Entry(index, term, EntryType.CONFIGURATION, configuration_codec.encode(configuration))


def commands(first: int, *terms: int) -> tuple[Entry, ...]:
    """Commands of these terms from index ``first`` on."""
    return tuple(Entry(first + at, term, EntryType.COMMAND, b"%d-%d" % (term, at)) for at, term in enumerate(terms))


def log_of(configuration: Configuration, *terms: int) -> tuple[Entry, ...]:
    """A log that begins with the configuration, as bootstrapped, and goes on with commands of these terms."""
    return (configuration_entry(1, 1, configuration), *commands(2, *terms))


def snapshot_of(index: int, term: int, configuration: Configuration, configuration_index: int = 1) -> SnapshotMeta:
    return SnapshotMeta(f"{term}-{index}", index, term, configuration, configuration_index, size=10)


class Node:
    """Node A with what surrounds it.

    Attributes:
        effects: Those of the last step.
        unanswered: What was sent and has had no answer, by rpc id.
        unwritten: The writes that are not durable yet.
        outcomes: How operations ended, by token; an index if by Apply.
        answers: How incoming RPCs were answered.
    """

    def __init__(
        self,
        *,
        log: Sequence[Entry] = (),
        term: int = 1,
        voted_for: str = "",
        settings: Settings | None = None,
        snapshot: SnapshotMeta | None = None,
    ) -> None:
        self.store = DictStore(log)
        self.now = 100.0
        self.core = Core(
            peer("A"),
            settings or Settings(),
            self.store,
            configuration_codec,
            Dice(),
            now=self.now,
            hard_state=HardState(term, voted_for) if term else None,
            snapshot=snapshot,
        )
        self.effects: list[Effect] = []
        self.unanswered: dict[int, Send | SendSnapshot] = {}
        self.unwritten: list[Write] = []
        self.outcomes: dict[Token, Complete | ReadReady | Fail | int] = {}
        self.answers: dict[Token, Respond | Refuse] = {}
        self.waiting_rpcs: set[Token] = set()
        self._rpcs = 0

    # -- events -------------------------------------------------------------------------------------------------

    def step(self, event: Event, *, after: float = 0.0) -> list[Effect]:
        """Lets ``after`` seconds pass, then the event happen."""
        self.now += after
        self.effects = self.core.step(event, self.now)
        for effect in self.effects:
            self._keep(effect)
        if isinstance(event, Tick):
            deadline = self.core.deadline()
            assert deadline is None or deadline > self.now, "a deadline was not dealt with"
        return self.effects

    def tick(self, after: float = 0.0) -> list[Effect]:
        return self.step(Tick(), after=after)

    def tick_at_deadline(self) -> list[Effect]:
        deadline = self.core.deadline()
        assert deadline is not None
        return self.tick(after=deadline - self.now)

    def durable(self, count: int | None = None) -> list[Effect]:
        """Makes all writes durable, or only the first so many; gives what that led to."""
        done, self.unwritten = self.unwritten[:count], self.unwritten[len(self.unwritten[:count]) :]
        effects: list[Effect] = []
        for write in done:
            self.store.write(write)
            effects += self.step(Written(write.seq))
        return effects

    def receive(self, request: Request) -> Token:
        """Lets a peer's request come in; returns its name among the answers."""
        self._rpcs += 1
        rpc = f"rpc {self._rpcs}"
        self.waiting_rpcs.add(rpc)
        self.step(Receive(rpc, request))
        return rpc

    def ask(self, request: Request) -> Response:
        """Lets a request come in, makes everything durable, and returns the response."""
        rpc = self.receive(request)
        self.durable()
        answer = self.answers[rpc]
        assert isinstance(answer, Respond), answer
        return answer.response

    def refusal(self, request: Request) -> str:
        """Lets a request come in, and returns the error it is refused with."""
        answer = self.answers[self.receive(request)]
        assert isinstance(answer, Refuse), answer
        return str(answer.error)

    def answer(self, send: Send | SendSnapshot, response: Response | None = None) -> list[Effect]:
        """Answers, if not told otherwise as a server that agrees."""
        del self.unanswered[send.rpc_id]
        return self.step(RpcResponse(send.rpc_id, response or agreement(send)))

    def fail(
        self, send: Send | SendSnapshot, reason: str = "unreachable", *, unsupported: bool = False
    ) -> list[Effect]:
        del self.unanswered[send.rpc_id]
        return self.step(RpcFailed(send.rpc_id, reason, unsupported))

    def answer_all(self, *server_ids: str) -> None:
        """Has all, or only these, agree to everything until nothing more is sent."""
        while due := [s for s in self.unanswered.values() if not server_ids or s.to.id in server_ids]:
            self.answer(due[0])

    def settle(self) -> None:
        """Makes everything durable and has everybody agree, until there is nothing left to do now."""
        while self.unwritten or self.unanswered:
            self.durable()
            self.answer_all()

    def propose(self, *tokens: Token, data: bytes = b"command") -> list[Effect]:
        return self.step(Propose(tuple(Proposal(token, EntryType.COMMAND, data) for token in tokens)))

    # -- what came of it ----------------------------------------------------------------------------------------

    def of(self, kind: type[E]) -> list[E]:
        """The last step's effects of this type."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def sent(self, kind: type[E], to: str = "") -> list[tuple[Send, E]]:
        """The unanswered requests of this type, with what sends them."""
        return [
            (send, send.request)
            for send in self.unanswered.values()
            if isinstance(send, Send) and isinstance(send.request, kind) and to in ("", send.to.id)
        ]

    def appends(self, to: str) -> list[tuple[Send, AppendEntriesRequest]]:
        """The unanswered appends that are no heartbeats."""
        return [(send, request) for send, request in self.sent(AppendEntriesRequest, to) if not request.is_heartbeat]

    def heartbeats(self, to: str) -> list[Send]:
        return [send for send, request in self.sent(AppendEntriesRequest, to) if request.is_heartbeat]

    def error(self, token: Token) -> str:
        outcome = self.outcomes[token]
        assert isinstance(outcome, Fail), outcome
        return str(outcome.error)

    @property
    def stopped(self) -> bool:
        return self.core.state is State.SHUTDOWN

    def terms(self) -> list[int]:
        """The terms of the log, from its first index on."""
        log = self.core.log
        return [term for i in range(log.first_index, log.last_index + 1) if (term := log.term(i)) is not None]

    def _keep(self, effect: Effect) -> None:
        match effect:
            case Write():
                self.unwritten.append(effect)
            case CompactLog():
                self.store.compact(effect.to_index)
            case Send() | SendSnapshot():
                self.unanswered[effect.rpc_id] = effect
            case Respond() | Refuse():
                assert effect.rpc in self.waiting_rpcs, f"{effect.rpc} was answered twice"
                self.waiting_rpcs.remove(effect.rpc)
                self.answers[effect.rpc] = effect
            case Apply():
                for index, token in effect.waiting:
                    self._end(token, index)
            case Complete() | ReadReady() | Fail():
                self._end(effect.token, effect)
            case Stopped():
                assert self.core.deadline() is None
            case _:
                pass

    def _end(self, token: Token, outcome: Complete | ReadReady | Fail | int) -> None:
        assert token not in self.outcomes, f"{token} came back twice"
        self.outcomes[token] = outcome


def agreement(send: Send | SendSnapshot) -> Response:
    """The answer of a server that agrees with what is asked."""
    request = send.request
    match request:
        case RequestPreVoteRequest():
            return RequestPreVoteResponse(request.term - 1, True)
        case RequestVoteRequest():
            return RequestVoteResponse(request.term, True)
        case AppendEntriesRequest():
            return AppendEntriesResponse(request.term, request.prev_index + len(request.entries), True)
    return InstallSnapshotResponse(request.term, True) if isinstance(send, SendSnapshot) else TimeoutNowResponse()


def follower(voters: str = "ABC", nonvoters: str = "", terms: Sequence[int] = (), **more: object) -> Node:
    """A follower whose log begins with a configuration of these servers and goes on with entries of ``terms``; its own
    term is that of its last entry unless said otherwise."""
    more.setdefault("term", max((1, *terms)))
    return Node(log=log_of(members(voters, nonvoters), *terms), **more)  # type: ignore[arg-type]


def candidate(voters: str = "ABC", **more: object) -> Node:
    """A candidate that has asked for pre-votes."""
    node = follower(voters, **more)  # type: ignore[arg-type]
    node.tick_at_deadline()
    assert node.core.state is State.CANDIDATE
    return node


def new_leader(voters: str = "ABC", nonvoters: str = "", **more: object) -> Node:
    """A leader whose no-op is sent and not durable anywhere."""
    node = follower(voters, nonvoters, **more)  # type: ignore[arg-type]
    elect(node)
    return node


def elect(node: Node) -> None:
    """Lets the node stand for election now, and everybody vote for it; its no-op is not durable yet."""
    node.tick_at_deadline()
    while node.core.state is not State.LEADER:
        for kind in (RequestPreVoteRequest, RequestVoteRequest):
            for send, _ in node.sent(kind):
                node.answer(send)
        if node.core.state is not State.LEADER:
            node.durable()


def leader(voters: str = "ABC", nonvoters: str = "", **more: object) -> Node:
    """A leader whose no-op is committed and known to all."""
    node = new_leader(voters, nonvoters, **more)
    node.settle()
    node.tick(after=node.core.settings.commit_timeout)
    node.settle()
    return node
