"""Training of any torch module on token ids: over transformers' Trainer and accelerate, resumed after a kill."""
