"""Adversarial training: crops, history buffer, losses, the loop and its state."""
