"""Images and slides to nuclei, by a trained network or by the training-free baseline."""
