"""Training sets: an immutable JSON manifest of samples, its 80/20 split, and loading a sample's pixels with checks."""
