"""The service edge: RefinerService over gRPC, its messages and settings."""
