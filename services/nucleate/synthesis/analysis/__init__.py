"""What synthesis takes from one un-annotated image: its nuclei, background, textures and statistics."""
