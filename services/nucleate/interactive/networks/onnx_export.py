"""The encoder as ONNX: batch, height and width stay free, height and width in multiples of 32."""

from __future__ import annotations

import torch

from nucleate.interactive.networks.encoder_runtime import INPUTS, OUTPUT
from nucleate.interactive.networks.interactive_network import CHANNELS, Encoder
from nucleate.learning.onnx_program import export


def export_encoder(encoder: Encoder, size: int = 96) -> bytes:
    """Trace the encoder in inference mode on the CPU and return the ONNX file; the encoder itself is not changed."""
    examples = (torch.zeros(1, channels, size, size) for channels in CHANNELS)
    return export(encoder, dict(zip(INPUTS, examples, strict=True)), OUTPUT)
