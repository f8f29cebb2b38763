"""From a reference to synthetic pairs: layout, contours, composition, stain variation."""
