"""How real synthetic images look: a classifier two-sample test and distances between distributions, no annotation involved.

`auc`: how well a random forest on hand-made features of crops tells real from synthetic on source images it has not seen
(Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017); .5 is indistinguishable, 1 is seen at a glance.
"""
