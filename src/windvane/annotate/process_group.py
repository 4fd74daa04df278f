"""The processes that annotate one data set together."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Group:
    """This process's ``rank`` among ``count`` that all make the same calls in the same order.

    ``Group()`` is one process alone. It is asked for and never guessed, since a program of several processes
    may well annotate in one of them while the others wait.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        if not 0 <= rank < count:
            raise ValueError(f"rank must lie in 0..{count - 1}, got {rank}")
        self.rank, self.count = rank, count

    @classmethod
    def launched(cls) -> Self:
        """The processes of ``torchrun`` or ``accelerate launch``, once torch.distributed is set up."""
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in every process; an error of it is raised in all of them."""
        if self.count == 1:
            return make()
        import torch.distributed as dist

        sent: list[Any] = [None, None]
        if self.rank == 0:
            try:
                sent[0] = make()
            except Exception as error:
                # The others wait for an answer and must not wait for ever.
                sent[1] = error
        dist.broadcast_object_list(sent, src=0)
        if sent[1] is not None:
            raise sent[1]
        return sent[0]

    def agree(self, yes: bool) -> bool:
        """Whether all processes say yes."""
        if self.count == 1:
            return yes
        import torch.distributed as dist

        said: list[Any] = [None] * self.count
        dist.all_gather_object(said, yes)
        return all(said)
