"""Segmentation without training: the classical baseline, and pseudo-labels refined by closed contours."""
