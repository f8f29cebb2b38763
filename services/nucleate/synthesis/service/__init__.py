"""The service edge: SynthesisService over gRPC, its messages and settings."""
