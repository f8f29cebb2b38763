"""Images and slides: files to pixels and back, overlays for people."""
