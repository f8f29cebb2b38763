"""Instance maps and what is measured on them: shapes, distances, nucleus records, typical sizes, magnification."""
