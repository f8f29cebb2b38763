"""From clicks to a mask: the zoom-in frame, the network's input, and how its probability becomes a mask."""
