"""The network (Graham et al. 2019), its ONNX program and its file."""
