"""The encoder as ONNX: batch, height and width stay free, height and width in multiples of 32."""

from __future__ import annotations

import copy
import io
import warnings

import torch

from nucleate.interactive.networks.backbones import INPUTS, OUTPUT
from nucleate.interactive.networks.network import CHANNELS, Encoder

OPSET = 17


def export_encoder(encoder: Encoder, size: int = 96) -> bytes:
    """Trace the encoder in inference mode on the CPU and return the ONNX file; the encoder itself is not changed."""
    traced = copy.deepcopy(encoder).cpu().eval()
    inputs = tuple(torch.zeros(1, channels, size, size) for channels in CHANNELS)
    free = {0: "batch", 2: "height", 3: "width"}
    # Names tell ONNX Runtime which sizes are equal, and the features' are not the image's.
    free_features = {0: "batch", 2: "feature_height", 3: "feature_width"}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is deprecated but keeps the free sizes exact and takes a second, not twenty.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            traced,
            inputs,
            buffer,  # type: ignore[arg-type]
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={**dict.fromkeys(INPUTS, free), OUTPUT: free_features},
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()
