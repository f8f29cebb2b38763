"""Adversarial refinement of synthetic images (report section 3.2.1, equations L_D and L_R).

A fully convolutional refiner R_Ω makes a synthetic image look real while a patch discriminator D_ψ, whose output is the
probability of being SYNTHETIC, learns to tell them apart. A gate compares each refined image with its instance map and keeps
the unrefined image where nuclei moved or vanished.
"""
