"""From clicks to a mask: the frame that is looked at, what the network sees of it, and how its answer becomes a mask."""
