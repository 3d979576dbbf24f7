"""Reading ahead: the next piece of a stream is read by a thread while the one before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
Read = Callable[[Callable[[], bool]], T]  # asks now and then whether it is still wanted


class Errand(Generic[T]):
    """What `read` returns, found by a thread of its own that ends with it, so that no thread ever waits for work.

    Where no thread can be started, or a fork left it behind, `result` does the work itself. The thread is no daemon:
    at the end of the interpreter it finishes, and torch is not torn down under it.

    >>> Errand(lambda wanted: 6 * 7).result()
    42
    """

    def __init__(self, read: Read[T]) -> None:
        self._read, self._wanted = read, True
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="deepbelief-reads-ahead")
        try:
            self._thread.start()
        except RuntimeError:  # no more threads to be had
            return

    def _run(self) -> None:
        try:
            self._found = [self._read(lambda: self._wanted)]
        except BaseException as error:  # whatever it is, it belongs to whoever asks for the result
            self._error = error

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def result(self) -> T:
        """What was read; an error is raised as it is. To be asked for once: nothing is kept."""
        self.join()
        if not self._found and self._error is None:
            self._run()
        found, error = self._found, self._error
        self._found, self._error = [], None
        try:
            if error is not None:
                raise error
            return found[0]
        finally:
            del error, self  # else the error's traceback would hold itself

    def drop(self) -> None:
        """Nobody wants the result any more: let the thread end soon, and wait for that."""
        self._wanted = False
        self.join()
        self._found, self._error = [], None


class ReadAhead(Generic[T]):
    """Pieces read one after the other: the one in use, and after `begin_next` the next, which is read meanwhile.

    >>> pieces = ReadAhead(iter([lambda wanted, i=i: i * i for i in range(3)]))
    >>> for piece in pieces:
    ...     pieces.begin_next()
    ...     print(piece)
    0
    1
    4
    """

    def __init__(self, reads: Iterator[Read[T]]) -> None:
        self._reads = reads
        self.errand: Errand[T] | None = None

    def __iter__(self) -> Iterator[T]:
        while True:
            if self.errand is not None:
                errand, self.errand = self.errand, None
                yield errand.result()
            elif (read := next(self._reads, None)) is not None:
                yield read(lambda: True)
            else:
                return

    def begin_next(self) -> None:
        """Have the next piece read from now on, unless it is already, or there is none."""
        if self.errand is None and (read := next(self._reads, None)) is not None:
            self.errand = Errand(read)

    def close(self) -> None:
        """Let go of what is being read."""
        if self.errand is not None:
            self.errand.drop()
            self.errand = None
