"""Classification heads that grow with the tasks learnt."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TaskHeads(nn.Module):
    """One linear layer a task; their logits side by side.

    Args:
        in_features: Size D of the features.
        tasks: The class ids of every task, e.g. `[[0, 1, 2], [3, 4]]`; a class belongs to one task only.

    Raises:
        ValueError: No task, an empty task, a negative or repeated class id.

    Example:
        >>> import torch
        >>> heads = TaskHeads(8, [[0, 1, 2], [7, 4]])
        >>> heads(torch.zeros(5, 8)).shape, heads.class_ids
        (torch.Size([5, 5]), [0, 1, 2, 7, 4])
    """

    def __init__(self, in_features: int, tasks: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if in_features < 1:
            raise ValueError(f"TaskHeads: in_features is {in_features}, expected at least 1")
        if len(tasks) == 0:
            raise ValueError("TaskHeads: no task given, expected at least one list of class ids")
        self.in_features = in_features
        self.tasks: list[tuple[int, ...]] = []
        self.heads = nn.ModuleList()
        for classes in tasks:
            self.add_task(classes)

    @property
    def class_ids(self) -> list[int]:
        """The class id of every logit, in order."""
        return [class_id for classes in self.tasks for class_id in classes]

    def add_task(self, classes: Sequence[int]) -> nn.Linear:
        """Adds a head for new classes; the old heads and their logits stay as they are.

        Args:
            classes: Class ids, none of them known yet.

        Returns:
            The new layer, on the device and in the dtype of the old ones. An optimiser must be told of it.

        Raises:
            ValueError: No class, a negative class id, or one that a head has already.
        """
        ids = tuple(int(class_id) for class_id in classes)
        known = set(self.class_ids)
        if not ids:
            raise ValueError("TaskHeads: a task has no class, expected at least one class id")
        if min(ids) < 0 or len(set(ids)) < len(ids) or known & set(ids):
            raise ValueError(
                f"TaskHeads: task {list(ids)} has negative or repeated class ids (known already: {sorted(known)}); "
                "a class belongs to one task"
            )
        like = next(self.heads.parameters(), None)
        head = nn.Linear(
            self.in_features,
            len(ids),
            device=None if like is None else like.device,
            dtype=None if like is None else like.dtype,
        )
        head.train(self.training)
        self.heads.append(head)
        self.tasks.append(ids)
        return head

    def forward(self, features: Tensor) -> Tensor:
        """Maps features [*, D] to the logits [*, K] of all heads, in the order of `class_ids`.

        Float32 features, such as means of 16-bit spikes, are rounded to the dtype of 16-bit weights.
        """
        if features.shape[-1] != self.in_features:
            raise ValueError(
                f"TaskHeads: features have shape {list(features.shape)}, expected [..., {self.in_features}]"
            )
        dtype = next(self.parameters()).dtype
        if features.dtype == torch.float32 and dtype in (torch.bfloat16, torch.float16):
            features = features.to(dtype)
        logits = [head(features) for head in self.heads]
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=-1)

    def split(self, logits: Tensor) -> list[Tensor]:
        """Cuts logits [*, K] into views [*, K_t], one for each head."""
        sizes = [len(classes) for classes in self.tasks]
        if logits.shape[-1] != sum(sizes):
            raise ValueError(f"TaskHeads: logits have shape {list(logits.shape)}, expected [..., {sum(sizes)}]")
        return list(logits.split(sizes, dim=-1))

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, tasks={[list(task) for task in self.tasks]}"


class ExitHead(nn.Module):
    """A head on spikes at a split point, with which an edge decides by itself whether the answer is clear.

    Args:
        channels: Channels C of the spikes.
        tasks: As for `TaskHeads`.

    Example:
        >>> import torch
        >>> ExitHead(4, [[0, 1, 2]])(torch.ones(5, 2, 4, 8, 8)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(self, channels: int, tasks: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.head = TaskHeads(channels, tasks)

    def forward(self, spikes: Tensor) -> Tensor:
        """Maps spikes [..., N, C, H, W] to logits [..., N, K]: one for each timestep, from the rates over space."""
        return self.head(spikes.mean((-2, -1), dtype=torch.promote_types(spikes.dtype, torch.float32)))
