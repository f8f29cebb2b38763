"""SinGAN harmonization (report section 5.2): a pyramid of generators trained on one image blends pasted nuclei into it.

Shaham, Dekel and Michaeli, "SinGAN: Learning a Generative Model from a Single Natural Image", ICCV 2019, arXiv 1905.01164.
`training.train` fits a model, `harmonize.harmonize` applies it, and `mask_verification.verify_masks` makes the pair consistent
again, because the blending moves contours. One model knows one image and takes thousands of steps per scale, so this is an
option for single images, never the default way of blending.
"""
