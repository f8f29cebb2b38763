"""Colour normalization (report chapter 6): Reinhard's statistics and the self-supervised ColorNormNet.

ColorNormNet (Patil et al., arXiv 2011.15000) learns on patches of one target image to predict the offset that was added to
its red and blue channels; added to an image of another stain, the predicted offset takes its colours to the target's.
Neither method ever touches the background of a slide.
"""
