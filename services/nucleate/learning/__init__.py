"""What every trained method shares: where it computes, its model files, its checkpoints and its moving average."""
