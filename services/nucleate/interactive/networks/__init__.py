"""The networks of figure 3.2, the published HRNets, Latent Diversity, and how they are stored, exported and run."""
