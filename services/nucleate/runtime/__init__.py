"""What every service stands on: stores, blobs, jobs, the gRPC server, its telemetry, and the client's channels.

Knows nothing of nuclei: no numpy, no cv2, no torch.
"""
