"""The reference's integers on PyTorch tensors."""
