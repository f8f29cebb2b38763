"""The service edge: ColorNormService over gRPC, its messages and settings."""
