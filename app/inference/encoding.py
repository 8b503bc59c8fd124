"""Many examples, which are encoded in parts before a task adapts to them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import numpy as np

from app.inference.support_features import SupportFeatures
from app.inference.work import Adapt, Adapted, Result, Work


async def encoded_in_parts(work: Adapt, size: int, submit: Callable[[Work], Awaitable[Result]]) -> Adapt:
    """The same adaptation, whose images are encoded already, as earlier examples are, if there are more than `size`.

    What others ask meanwhile waits for a part of so many, not for all. A thousand photos in several views would keep
    the device from everybody for half a minute, and pass for a device that hangs. Raises what `submit` does.
    """
    if len(work.images) <= size:
        return work
    supports = [work.earlier] if work.earlier else []
    for begin in range(0, len(work.images), size):
        part = slice(begin, begin + size)
        _, numbers = np.unique(work.labels[part], return_inverse=True)  # its own classes, of which none is absent
        adapted = cast(Adapted, await submit(Adapt(work.images[part], numbers, None, work.model_version)))
        supports.append(adapted.support)
    labels = np.concatenate([work.earlier.labels, work.labels]) if work.earlier else work.labels
    earlier = SupportFeatures.joined(supports, labels)
    return replace(work, images=work.images[:0], labels=work.labels[:0], earlier=earlier)
