"""Files of the user: read and checked before anything is uploaded, written whole or not at all."""
