"""HoVer-Net: training, segmentation, evaluation and the label-free scores that patches are selected by.

The method is Graham et al., "HoVer-Net: simultaneous segmentation and classification of nuclei in multi-tissue histology
images", Medical Image Analysis 58 (2019), 101563: a pre-activated residual encoder with one dense decoder per branch (section
3.1), the loss ``L = λa La + λb Lb + λc Lc + λd Ld`` (equations 1-6; project report, section 2.5) and the gradient-marker
watershed of section 3.2. Width, depth and stem are configuration, so that the same code trains on two CPU cores or on a GPU.
"""
