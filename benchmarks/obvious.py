"""The obvious PyTorch program, the baseline for the speed of this project.

A model with the same shapes as the default one, written as in a tutorial: learned positions, nn.TransformerEncoder with
a causal mask, logits of the whole batch, fp32, torch.optim.AdamW with its defaults.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimal_llm.model.transformer import Architecture


class ObviousModel(nn.Module):
    """Maps (B, T) token ids to (B, T, V) logits."""

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocab_size, shape.d_model)
        self.positions = nn.Embedding(shape.max_seq_length, shape.d_model)
        layer = nn.TransformerEncoderLayer(
            shape.d_model, shape.heads, shape.feed_forward, dropout=0.0, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, shape.layers)
        self.head = nn.Linear(shape.d_model, shape.vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        x = self.tokens(tokens) + self.positions(torch.arange(length))
        logits: Tensor = self.head(self.encoder(x, mask=mask, is_causal=True))
        return logits


class ObviousTrainer:
    """Trains the model; `step` takes a batch and returns its loss."""

    def __init__(self, shape: Architecture) -> None:
        self.model = ObviousModel(shape)
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def step(self, inputs: Tensor, targets: Tensor) -> float:
        logits = self.model(inputs)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.item()
