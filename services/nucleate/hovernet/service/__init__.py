"""The service edge: HoverNetService over gRPC, messages, models and slides in the store, torchrun, settings."""
