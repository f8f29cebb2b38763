"""The service edge: OrchestratorService over gRPC and its settings."""
