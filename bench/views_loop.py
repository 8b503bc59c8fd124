"""An inner loop over several views of each picture of the support, on products of encoded pictures.

Which views make a class's code, and over which the loss goes, an attempt says; their weight is learned where it says
so. All start from class means and divide their gradients by the curvature of the pictures in the loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.intervals import as_row, in_percent, with_ci95
from bench.photos_steps import AT_ONCE, Attempt, InnerLoop, Products, inverse, learn, right
from model.data.episodes import Episodes
from model.evaluation.accuracy import Setting, sample_tasks
from model.evaluation.extracted_features import ExtractedFeatures

MOST = 8  # views beside the picture as it is


@dataclass(frozen=True)
class ViewsAttempt(Attempt):
    """Which views make a class's code, and over which the inner loop's loss goes; 0 is the picture as it is."""

    views: int = 4
    codes: Literal["picture", "all", "half", "learned"] = "picture"
    learns_from: Literal["picture", "all", "views", "other half"] = "all"
    averaged: bool = False  # an example is the mean of its views, as in the model for drawings

    @property
    def rows(self) -> int:
        """Encoded pictures of each example that the inner loop has."""
        return 1 if self.averaged else 1 + self.views


ATTEMPTS = {
    "the picture alone": ViewsAttempt(learns_from="picture"),
    "the mean of the picture and 4 views in its place": ViewsAttempt(learns_from="picture", averaged=True),
    "code of the picture, loss over it and 1 view": ViewsAttempt(views=1),
    "code of the picture, loss over it and 2 views": ViewsAttempt(views=2),
    "code of the picture, loss over it and 4 views": ViewsAttempt(),
    "code of the picture, loss over it and 8 views": ViewsAttempt(views=8),
    "code of the picture, loss over 4 views": ViewsAttempt(learns_from="views"),
    "code and loss over the picture and 4 views": ViewsAttempt(codes="all"),
    "the same, a view left out of its own logits": ViewsAttempt(codes="all", loss="own example left out"),
    "code of the picture and 2 views, loss over 2 others": ViewsAttempt(codes="half", learns_from="other half"),
    "views with a learned weight, in code and loss": ViewsAttempt(codes="learned"),
    "the same, codes held near their start": ViewsAttempt(codes="learned", held=True),
}


class ViewsLoop(InnerLoop):
    """An attempt with its meta-learned numbers; a task's pictures are sorted by class, picture and view."""

    attempt: ViewsAttempt

    def __init__(self, attempt: ViewsAttempt, ridge: float) -> None:
        super().__init__(replace(attempt, divided=ridge))
        self.weight = nn.Parameter(torch.tensor(0.0), requires_grad=attempt.codes == "learned")

    def forward(self, tasks: Products, steps: int) -> Tensor:
        """Start, take steps, classify: products of a batch of tasks -> logits of their queries [T,Q,N]."""
        attempt, size = self.attempt, tasks.support.shape[-1]
        view = torch.arange(size) % attempt.rows  # [S], 0 for the picture as it is
        of_view = self.weight.sigmoid()  # of a view beside the picture's 1, where it is learned
        in_code = {
            "picture": (view == 0).float(),
            "all": torch.ones(size),
            "half": (view <= attempt.views // 2).float(),
            "learned": torch.where(view == 0, 1.0, of_view),
        }[attempt.codes]
        in_loss = {
            "picture": (view == 0).float(),
            "all": torch.where(view == 0, 1.0, of_view) if attempt.codes == "learned" else torch.ones(size),
            "views": (view > 0).float(),
            "other half": (view > attempt.views // 2).float(),
        }[attempt.learns_from]
        membership = F.one_hot(tasks.labels(size), tasks.way).float()  # [S, N]
        a_class = in_code * tasks.way / in_code.sum()  # [S], sums to 1 within a class
        start = codes = (membership * a_class.unsqueeze(-1)).T.expand(len(tasks.support), -1, -1)  # [T, N, S]
        seen = tasks.support
        if attempt.loss == "own example left out":
            seen = seen - torch.diag_embed(seen.diagonal(dim1=1, dim2=2))
        root = in_loss.sqrt()
        # As much beside a picture's views together as beside the picture alone.
        ridge = (attempt.divided or 0) * float(in_loss.detach().sum()) / (size // attempt.rows)
        dual = root.unsqueeze(-1) * inverse(root.unsqueeze(-1) * tasks.support * root, ridge) * root
        softness = self.log_softness.exp()
        for step in range(steps):
            error = (seen @ codes.mT / softness).softmax(dim=-1) - membership  # [T, S, N]
            codes = codes - self.log_alpha[step].exp() * softness * (dual @ error).mT
            if attempt.held:
                codes = codes - self.hold.sigmoid() * (codes - start)
        return self.log_scale.exp() * tasks.queries @ codes.mT


def products_of(codes: Tensor, tasks: Episodes, attempt: ViewsAttempt) -> Products:
    """Gather the tasks of a data set's views [C,D,1+V,L], of which a query has one, and multiply."""
    of_support = codes[:, :, : 1 + attempt.views]
    if attempt.averaged:
        of_support = of_support.mean(dim=2, keepdim=True)
    support, queries = [], []
    for at in range(0, len(tasks), AT_ONCE):
        some = tasks[at : at + AT_ONCE]
        examples = some.gather(of_support)[0].flatten(1, 2)  # [T, S, L], S pictures of N classes of K examples
        support.append(examples @ examples.mT)
        queries.append(some.gather(codes[:, :, 0])[2] @ examples.mT)
    return Products(tasks.classes.shape[1], tasks.shot, torch.cat(support), torch.cat(queries))


@torch.no_grad()
def right_in_parts(loop: ViewsLoop, tasks: Products, steps: int) -> Tensor:
    """The share of right answers in each task, [T], some tasks at a time."""
    parts = torch.arange(len(tasks.support)).split(AT_ONCE)
    return torch.cat([right(loop, tasks.some(part), steps) for part in parts])


def rows_of(
    held_out: ExtractedFeatures,
    to_learn: list[tuple[ExtractedFeatures, Episodes]],
    settings: list[Setting],
    ridge: float,
    episodes: int,
) -> Iterator[dict[str, Any]]:
    """Every attempt on new classes, views [C,D,1+V,L], beside the first attempt on the same tasks."""
    first: dict[Setting, Tensor] = {}
    for name, attempt in ATTEMPTS.items():
        loop = ViewsLoop(attempt, ridge)
        learn(loop, [products_of(seen.features, tasks, attempt) for seen, tasks in to_learn])
        learned = {"view": round(float(loop.weight.detach().sigmoid()), 3)} if attempt.codes == "learned" else {}
        for setting in settings:
            tasks = products_of(held_out.features, sample_tasks(held_out, setting, episodes), attempt)
            off, on = right_in_parts(loop, tasks, 0), right_in_parts(loop, tasks, attempt.steps)
            figures = with_ci95(off=off, on=on, gain=on - off, against_first=on - first.setdefault(setting, on))
            print(f"{name:56}", setting, in_percent(figures), learned, flush=True)
            yield {"attempt": name, **as_row(setting), **learned, **figures}
