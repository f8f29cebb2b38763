"""Instance maps and what is measured on them: areas, shapes, distances, typical radius."""
