"""Annotations as people exchange them, to instance maps: label rasters, ImageScope XML, QuPath GeoJSON, HoVer-Net JSON."""
