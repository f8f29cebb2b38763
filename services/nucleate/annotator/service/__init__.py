"""The service edge: AnnotatorService over gRPC, its limits and settings."""
