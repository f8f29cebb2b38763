"""Evaluation by clicks: nuclei clicked from scratch, proposals corrected, and what the clicks came to."""
