"""The robot annotator: stands in for the person who clicks, in simulations only (report section 3.2.3).

It opens a session of the interactive service like any client and looks at a sealed instance map only to decide where to click.
In the loop (`robot`) it annotates a window: leave a proposal that is good, delete one that is no nucleus, correct a poor one,
click a missed nucleus from scratch. In an evaluation (`bench`) it clicks single nuclei, to count clicks to a target IoU, and
corrects proposals (`corrector`), to count clicks to a target PQ.
"""
