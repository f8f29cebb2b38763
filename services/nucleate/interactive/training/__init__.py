"""Training without ground truth: labels drawn anew, crops with simulated clicks, losses, the loop."""
