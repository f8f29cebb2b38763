"""The service edge: InteractiveService over gRPC, its streams, uploads, messages, metrics and settings."""
