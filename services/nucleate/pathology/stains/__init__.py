"""Stains: optical density, Macenko's stain vectors, stain-standardised input, stain augmentation."""
