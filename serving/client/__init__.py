"""gRPC client of the ensemble."""
