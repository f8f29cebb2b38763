"""What trained methods share: where they compute, model files, ONNX programs, checkpoints and moving averages."""

import os

# ONNX Runtime (1.29 and later) reports its use to its maker unless it is told not to before it is first imported. A
# laboratory's machine should not call anyone; who wants the reports can set the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
