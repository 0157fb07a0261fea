"""A call's objects in their order, with S3 asked about them ahead of whoever answers them: what they are, and how far they have been answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from gluon_lambda.batch.job import Begun, Desk, Found, Served, begin, is_one_image, look
from gluon_lambda.batch_records import ObjectRef, ObjectResult

# Objects that are asked about ahead, and such as are put aside before somebody has to see to them. Each brings its first bytes.
AHEAD = 64
# At the beginning there are fewer, so that the first one need not share processor and connections with so many.
AT_FIRST = 16


class Numbered(NamedTuple):
    """An object that is to be answered.

    Attributes:
        number: Its place in the call.
        object: What is known of it: what it is, or how far it is, too.
    """

    number: int
    object: Found | Begun


class Lookahead:
    """Objects as they come: small images by ``next_image``, one after another; what is none is put aside for ``take_others``.

    Attributes:
        results: Of those that need no answer, by their place in the call.
    """

    def __init__(self, objects: Iterable[tuple[int, ObjectRef]], desk: Desk, pool: ThreadPoolExecutor) -> None:
        """Begin to ask about the first ones.

        Args:
            objects: References by their place in the call.
            desk: The call's.
            pool: Where S3 is asked.
        """
        self._objects = iter(objects)
        self._desk = desk
        self._pool = pool
        self._coming: deque[tuple[int, Future[Found | Begun | ObjectResult]]] = deque()
        self._others: list[Numbered] = []
        self.results: dict[int, ObjectResult] = {}
        self._ask(AT_FIRST)

    def next_image(self, served: Served | None = None) -> tuple[int, Begun] | None:
        """The next image all of whose bytes are here.

        Args:
            served: The model that has to answer it; None for any.

        Returns:
            None at the end, or when so many others have been put aside that somebody has to see to them.
        """
        while len(self._others) < AHEAD:
            try:
                number, pending = self._coming.popleft()
            except IndexError:  # to look first would not do: a thread that reads ahead, and is no longer waited for, may take the last one
                return None
            self._ask(2 if len(self._coming) < AHEAD - 1 else 1)  # one for the one that is taken, and one more
            each = pending.result()
            if isinstance(each, ObjectResult):
                self.results[number] = each
            elif isinstance(each, Begun) and is_small_image(each) and served in (None, each.served):
                return number, each
            else:
                self._others.append(Numbered(number, each))
        return None

    @property
    def has_more(self) -> bool:
        """Whether there is something that nobody has taken."""
        return bool(self._coming or self._others)

    def take_others(self) -> list[Numbered]:
        """What has been put aside."""
        others, self._others = self._others, []
        return others

    def _ask(self, count: int) -> None:
        for number, reference in islice(self._objects, count):
            self._coming.append((number, self._pool.submit(_opened, reference, self._desk)))


def _opened(reference: ObjectRef, desk: Desk) -> Found | Begun | ObjectResult:
    """What an object is; and how far, where its model is known already: to load one is not for this thread."""
    found = look(reference, desk)
    model = desk.known(reference, found.facts) if isinstance(found, Found) else None
    return begin(found, model, desk) if isinstance(found, Found) and model else found


def is_small_image(begun: Begun) -> bool:
    """Whether an object is an image that nothing has been done of, and all of it has come with what S3 says of it."""
    return len(begun.head) == begun.facts.size and is_new_image(begun)


def is_new_image(begun: Begun) -> bool:
    """Whether an object is an image of which nothing has been done: it may be answered together with others."""
    is_new = begun.progress.next_row == 0 and not begun.progress.complete
    return is_new and is_one_image(begun.reference, begun.facts)
