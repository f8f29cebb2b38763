"""ColorNormNet (report section 6.2): network, training, and the trained net as a normalizer."""
