"""The graph of an engine: opened, opened again after a fork, and run in turns by many threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from edgeplm_runtime.bundle.reader import Bundle
from edgeplm_runtime.engine.opening import Active, Meanwhile, open_for_lanes, open_planned, run_graph
from edgeplm_runtime.engine.planning import Plan, usual_batches
from edgeplm_runtime.engine.settings import Settings
from edgeplm_runtime.errors import EngineClosed
from edgeplm_runtime.numerics import Ids
from edgeplm_runtime.providers import TOKEN_BUDGET
from edgeplm_runtime.scheduling.lanes import Lanes
from edgeplm_runtime.session import GraphSession
from edgeplm_runtime.tasks import Task


# Tokens from which on opening the graph a second time pays: two lanes gain 15 %, opening MiniLM takes as long as 600
# tokens (docs/scheduling.md).
WORTH_LANES = 4096

# A session of a parent process must not be destroyed in a forked child: its thread pool would be joined, and
# the threads do not exist there.
_inherited_sessions: list[GraphSession] = []


class OpenGraph:
    """Runs the variant that is best here. Safe from many threads, and after a fork."""

    def __init__(self, bundle: Bundle, task: Task, plan: Plan, asked: Settings, *, meanwhile: Meanwhile) -> None:
        """Choose, check and open what the plan says; load() documents what is raised.

        `asked` are the settings without the device profile. `meanwhile`: what the caller does beside.
        """
        self._bundle, self._task, self._plan, self._asked = bundle, task, plan, asked
        self._lock = threading.Lock()
        self._session: GraphSession | None = None
        self._narrow: GraphSession | None = None
        self._open(meanwhile)

    @property
    def active(self) -> Active:
        """What really runs."""
        self.alive()
        return self._active

    @property
    def token_budget(self) -> int:
        """Rows × padded length of one batch."""
        return self._plan.settings.token_budget or TOKEN_BUDGET

    @property
    def call_tokens(self) -> int:
        """What a graph call costs beside its tokens, in tokens."""
        return usual_batches(self._bundle.manifest, self.active.provider)[1]

    @property
    def inputs(self) -> Mapping[str, str]:
        """The names of all inputs, and their types."""
        return self.alive().inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of all outputs."""
        return self.alive().outputs

    @property
    def fixed_shapes(self) -> bool:
        """Whether batches are to be padded to the ends of the length buckets."""
        return self.alive().fixed_shapes

    def run(self, wanted: Sequence[str], feeds: Mapping[str, Ids], *, share: bool = False) -> dict[str, NDArray[Any]]:
        """The named outputs, when it is this caller's turn; `share`: other calls will run beside this one."""
        self.alive()
        with self._lanes.enter(share=share) as shared:
            session = self.alive()  # it may have been closed while this waited
            # A call larger than a batch may be would otherwise keep its memory for as long as the engine lives.
            large = feeds["input_ids"].size > max(self.token_budget, TOKEN_BUDGET)
            return run_graph(self.narrow() if shared else session, wanted, feeds, give_back=large)

    def worth_lanes(self, tokens: int) -> bool:
        """Whether so much work at once is done sooner in several calls side by side."""
        return self.active.lanes > 1 and (self._narrow is not None or tokens >= WORTH_LANES)

    def narrow(self) -> GraphSession:
        """The session that lanes share, each call with its part of the threads; opened when it is first needed."""
        with self._narrow_lock:
            if (narrow := self._narrow) is None:
                narrow = open_for_lanes(self._bundle, self.active, self._plan.settings)
                self.alive()  # one that was closed meanwhile must not come back
                self._narrow = narrow
            return narrow

    def alive(self) -> GraphSession:
        """The session of this process; opened anew after a fork. Raises EngineClosed."""
        session = self._session
        if session is not None and self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    _inherited_sessions.extend(s for s in (session, self._narrow) if s is not None)
                    self._open()
                session = self._session
        if session is None:
            raise EngineClosed("this engine was closed. Call edgeplm.load() again.")
        return session

    def close(self) -> None:
        """Free it."""
        self._session = self._narrow = None

    def _open(self, meanwhile: Meanwhile | None = None) -> None:
        session, self._active, self._plan = open_planned(
            self._bundle, self._task, self._plan, self._asked, meanwhile=meanwhile or Meanwhile()
        )
        self._lanes = Lanes(self._active.lanes)
        self._narrow_lock: threading.Lock = threading.Lock()  # new in a forked child, whose parent may have held it
        self._narrow = None
        self._session = session
        self._pid = os.getpid()  # last: from now on other threads of this process use the session
