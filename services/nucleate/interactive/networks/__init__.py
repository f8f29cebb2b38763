"""The networks of figure 3.2, the published HRNets, Latent Diversity, and how they are stored, exported and run."""

import os

# ONNX Runtime (1.29 and later) reports its use to its maker unless it is told not to before it is first imported. A
# laboratory's machine should not call anyone; who wants the reports can set the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
