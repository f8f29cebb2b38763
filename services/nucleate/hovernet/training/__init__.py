"""Training: windows, targets, losses, the loop, self-training between its stages."""
