"""Stains: optical density, haematoxylin plane, tissue mask, stain vectors, stain-standardised input, stain augmentation."""
