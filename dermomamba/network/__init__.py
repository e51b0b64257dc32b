"""The network of Hoang et al. 2025 (doi 10.1007/s10044-025-01506-w), one file a block."""

from dermomamba.network.attention import CBAM, PCAM
from dermomamba.network.cross_scale import CrossScaleMambaBlock
from dermomamba.network.dermomamba import IMAGE_SIZE, DermoMamba, Gates
from dermomamba.network.scan2d import SS2D, VSSBlock
from dermomamba.network.stages import DecoderStage, EncoderStage, ResMamba
from dermomamba.network.sweep import SweepMamba

__all__ = [
    "CBAM",
    "IMAGE_SIZE",
    "PCAM",
    "SS2D",
    "CrossScaleMambaBlock",
    "DecoderStage",
    "DermoMamba",
    "EncoderStage",
    "Gates",
    "ResMamba",
    "SweepMamba",
    "VSSBlock",
]
