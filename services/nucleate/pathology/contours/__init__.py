"""Contours of nuclei from the image: the minimal-cost closed contour and how sharp edges are."""
