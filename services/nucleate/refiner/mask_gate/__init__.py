"""The mask gate: whether a refined image still shows the nuclei of its instance map."""
