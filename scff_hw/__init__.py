"""Self-Contrastive Forward-Forward learning, written for the hardware that will run it."""
