"""Averages of weights ("soups"): one network from several that went on from the same start.

Wortsman et al. 2022 (arXiv 2203.05482): weights fine-tuned from one start often lie in one basin, and their mean
generalises better than each; with the start among them it keeps what the start did well on other photos (Wortsman et
al. 2022, arXiv 2109.01903). The running statistics of BatchNorm are averaged with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dermomamba.errors import WeightsError
from dermomamba.weights import Weights


def average(members: Sequence[Weights], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of the members' tensors.

    Args:
        members: of one image size.
        shares: one number above 0 for each member; None for equal shares. They need not add up to 1.

    Returns:
        A state dict, float32; integers (counts of batches) are the first member's.

    Raises:
        WeightsError: no member, another number of shares, or members that do not fit together.
    """
    shares = [1.0] * len(members) if shares is None else list(shares)
    if not members or len(shares) != len(members) or min(shares) <= 0:
        raise WeightsError("An average needs at least one set of weights, and a share above 0 for each.")
    if len({member.image_size for member in members}) > 1:
        raise WeightsError("These weights are for photos of different sizes. Average weights of one size.")
    total = sum(shares)
    return {
        name: torch.stack([s / total * m.state_dict[name] for s, m in zip(shares, members, strict=True)]).sum(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in members[0].state_dict.items()
    }


def greedy(
    members: Sequence[Weights], score: Callable[[dict[str, Tensor]], float]
) -> tuple[list[Weights], list[float], list[float]]:
    """A greedy average: the best member first, then each next one if the equal average with it scores higher.

    Args:
        members: of one image size.
        score: judges a state dict on validation data, never on test data; more is better.

    Returns:
        The members of the chosen average; the score of each given member; the score after each one was tried, from
        the best to the worst. The last of these is the average's, never below the best member's.

    Raises:
        WeightsError: as for ``average``.

    Source:
        Wortsman et al. 2022, recipe 1 (arXiv 2203.05482).
    """
    average(members)  # what does not fit together is refused before anything is judged
    alone = [score(average([member])) for member in members]
    order = sorted(range(len(members)), key=lambda i: -alone[i])
    chosen, path = [members[order[0]]], [alone[order[0]]]
    for i in order[1:]:
        found = score(average([*chosen, members[i]]))
        if found > path[-1]:
            chosen.append(members[i])
        path.append(max(found, path[-1]))
    return chosen, alone, path


def averaged_card(
    members: Sequence[Weights],
    shares: Sequence[float] | None,
    name: str,
    description: str,
    validation: Mapping[str, Any],
) -> dict[str, Any]:
    """The card of an average: what is common, the data of all members, and every member with its share.

    Args:
        members, shares: as for ``average``.
        name, description: of the average.
        validation: its own figures.
    """
    shares = [1.0] * len(members) if shares is None else list(shares)
    first = members[0].card
    common = ("notice", "architecture", "parameters", "image_size", "licence")
    data: dict[str, Any] = {}
    for member in members:
        for source in member.card.get("data", []):
            data.setdefault(source["source"], source)
    return {
        "name": name,
        "description": description,
        **{key: first[key] for key in common if key in first},
        "data": list(data.values()),
        "validation": dict(validation),
        "averaged_from": [
            {"share": round(s / sum(shares), 4)} | m.origin("description") | {"name": m.card.get("name", m.name)}
            for m, s in zip(members, shares, strict=True)
        ],
    }
