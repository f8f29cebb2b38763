"""Scores against annotations, and label-free scores of windows worth annotating."""
