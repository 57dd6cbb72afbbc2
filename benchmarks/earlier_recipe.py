"""The earlier recipe: GPT-2 blocks (Radford et al. 2019) with learned positions, torch's AdamW, no dropout.

Head, loss and precision are the same as in this project, so only the recipe differs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimal_llm.common.compute import Compute
from minimal_llm.common.config import Config
from minimal_llm.model.seeds import derive_seed
from minimal_llm.model.transformer import INIT_STD, Architecture, Linear, TinyTransformer, attend
from minimal_llm.training.step import Engine


class GptBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with LayerNorm, GELU and biases in norms and linear layers."""

    def __init__(self, shape: Architecture, dtype: torch.dtype) -> None:
        super().__init__()
        width = shape.d_model
        self.heads = shape.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, shape.feed_forward), Linear(shape.feed_forward, width)
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(size)) for size in (3 * width, width, shape.feed_forward, width)
        )
        for linear in (self.qkv, self.out, self.up, self.down):
            linear.matmul_dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = (self.qkv(self.norms[0](x)) + self.biases[0]).to(self.qkv.matmul_dtype)
        q, k, v = qkv.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()
        attended = attend(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(attended) + self.biases[1]
        inner = F.gelu(self.up(self.norms[1](x)) + self.biases[2])
        result: Tensor = x + self.down(inner) + self.biases[3]
        return result


class GptModel(TinyTransformer):
    """GPT-2 blocks and learned positions between the embedding and head of this project."""

    def __init__(self, shape: Architecture, dtype: torch.dtype) -> None:
        super().__init__(shape)
        self.positions = nn.Embedding(shape.max_seq_length, shape.d_model)
        self.blocks = nn.ModuleList(GptBlock(shape, dtype) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.d_model)  # type: ignore[assignment]
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=INIT_STD)

    def hidden(self, tokens: Tensor, *_: object, **__: object) -> Tensor:
        """Return the (B, T, C) states after the final norm."""
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed


class EarlierEngine(Engine):
    """Trains the GPT-2 model with AdamW and torch's defaults, including weight decay on biases and embeddings."""

    def __init__(self, architecture: Architecture, config: Config, compute: Compute, total_steps: int) -> None:
        super().__init__(architecture, config, compute, total_steps)
        torch.manual_seed(derive_seed("weights", config.seed))
        self.model = GptModel(architecture, compute.matmul_dtype)
        self._hidden = self.model.hidden
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
