"""Two losses that may be added to Guide Fusion's: the Lovasz hinge and the boundary (surface) loss.

Both are per image and batched, with no loop over images and no shape that depends on the data.

Lovasz hinge (Berman, Triki, Blaschko 2018, CVPR, doi 10.1109/CVPR.2018.00464): with the signs ``s = 2 t - 1`` and the
hinge errors ``m = max(0, 1 - z s)`` sorted downwards, ``sum_i m_i (J(i) - J(i - 1))``, where ``J(i) = 1 - IoU`` after
the i pixels with the largest errors were got wrong: the convex closure of 1 - IoU.

Boundary loss (Kervadec et al. 2019, MIDL, PMLR 102:285-296; Med Image Anal 67:101851): ``mean(phi p)``,
with ``phi`` the signed distance to the border, negative in the lesion. Here phi is divided by the picture's diagonal,
so that the loss has no unit, and moved by half a pixel towards the border, where it is then 0; an empty or full mask,
which has no border, gives 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def lovasz_hinge(logits: Tensor, target: Tensor) -> Tensor:
    """The Lovasz hinge of each image.

    Args:
        logits: (B, 1, H, W) float.
        target: (B, 1, H, W) in [0, 1]; lesion from 0.5.

    Returns:
        (B,) float32 >= 0; 0 where every pixel is right with a margin of 1.
    """
    z, t = logits.float().flatten(1), (target >= 0.5).float().flatten(1)  # (B, n)
    error, order = (1 - z * (2 * t - 1)).sort(dim=1, descending=True)
    t = t.gather(1, order)
    missed = t.cumsum(1)  # lesion pixels among the i worst
    lesion = t.sum(1, keepdim=True)
    jaccard = 1 - (lesion - missed) / (lesion + (1 - t).cumsum(1)).clamp_min(1)  # (B, n), rises
    step = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], dim=1)
    return (error.relu() * step).sum(1)


def surface_loss(logits: Tensor, distance: Tensor) -> Tensor:
    """The boundary loss of each image.

    Args:
        logits: (B, 1, H, W) float.
        distance: (B, 1, H, W), ``guide_fusion.signed_distance`` of the target.

    Returns:
        (B,) float32 in (-1, 1); negative where the prediction lies in the lesion.
    """
    phi = distance - 0.5 * distance.sign()
    phi = torch.where(phi.isfinite(), phi, 0.0) / math.hypot(*distance.shape[-2:])
    return (torch.sigmoid(logits.float()) * phi).mean(dim=(1, 2, 3))
