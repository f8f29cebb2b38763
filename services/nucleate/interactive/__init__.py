"""Interactive segmentation: clicks in, a nucleus mask out, kept true to every click (report section 3.2.2, figure 3.2).

Fusion model A joins the image with the click maps, fusion model B the previous mask with the click maps; both are mixed to
three channels for an HRNet backbone. Image features F(x) and the segmentation feature are concatenated, changed to
s * F(x) + b, and read by an object-context head with two classes. f-BRS-B (Sofiiuk et al. 2020) optimizes s and b with L-BFGS
until every clicked pixel is on the side its click asks for.
"""
