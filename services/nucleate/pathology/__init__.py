"""Pixels of H&E images: codecs, stain separation, classical segmentation, instance maps, metrics, drawing.

Everything here is a pure function of numpy arrays. Images are HWC uint8 RGB in [0, 255]; instance maps are HW int32 with
0 for background and one positive label per nucleus; lengths are pixels (about 0.25 um at 40x), areas are pixels squared,
optical densities (OD) are natural-log absorbances.
"""
