"""Images and slides through a trained network, or through the training-free baseline."""
