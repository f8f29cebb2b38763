"""Initial synthesis of H&E images with instance maps from un-annotated images (report section 3.2.1, after Hou et al. [6]).

For every reference image, once (`reference`):
    super-segmentation (always contains the nuclei) -> removed and inpainted -> background B
    sub-segmentation (always inside the nuclei) + eosin texture -> an image of nothing but nuclear texture N
    shapes, sizes, orientation, density and edge width of its own nuclei, without labels
For every synthetic image (`generate`):
    random nuclei that overlap by at most 5 % -> instance map -> M;   S = M N + (1 - M) B;   blur and noise of the scanner
"""
