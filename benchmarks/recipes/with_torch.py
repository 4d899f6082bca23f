"""Our two recipes in PyTorch, as its own users tune it.

The pixels are converted to floats once and stay in memory, the optimiser is fused, and the batches are rows of one
tensor instead of the answers of a DataLoader. The initial weights and the optimiser's epsilon are those of Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch._dynamo  # the first optimiser would import it; here it is part of the import time
from torch.nn import functional
from torch.optim import swa_utils

from benchmarks.recipes.twins import FAST, STRONG, glorot_uniform, learning_rates
from benchmarks.schedules import Predict


def fast(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The fast recipe of `further/faster_training`."""
    torch.manual_seed(seed)
    images, labels = _pixels(x), torch.from_numpy(y.astype("int64"))
    model = _network(FAST.widths, seed)
    optimizer = torch.optim.Adam(model.parameters(), eps=FAST.epsilon, fused=True)
    rates = iter(learning_rates(FAST, epochs * -(-len(x) // FAST.batch_size)))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(FAST.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            _update(optimizer, next(rates))
    return _predict(model)


def strong(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> Predict:
    """The strong recipe of `further/stronger_networks`."""
    torch.manual_seed(seed)
    images, labels = _pixels(x), torch.from_numpy(y.astype("int64"))
    near = nearest_of_class(images, labels, STRONG.neighbours)
    model = _network(STRONG.widths, seed, STRONG.normalisation_epsilon)
    per_epoch = len(x) // STRONG.batch_size  # a smaller last batch is left out
    share = 1 / max(1, STRONG.average_share * epochs * per_epoch)
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(1 - share))
    optimizer = _adamw(model)
    rates = iter(learning_rates(STRONG, epochs * per_epoch))
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(STRONG.batch_size)[:per_epoch]:
            optimizer.zero_grad()
            _strong_loss(model, images[rows], labels[rows], images[near[rows]]).backward()
            _update(optimizer, next(rates))
            averaged.update_parameters(model)
    swa_utils.update_bn(images.split(1000), averaged)
    return _predict(averaged)


def nearest_of_class(images: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Returns the rows of the nearest other images of the same class, int64 `(n, count)`."""
    near = torch.empty((len(images), count), dtype=torch.int64)
    for digit in labels.unique():
        rows = torch.nonzero(labels == digit).flatten()
        distances = torch.cdist(images[rows], images[rows])
        distances.fill_diagonal_(torch.inf)
        near[rows] = rows[distances.topk(count, largest=False).indices]
    return near


def _strong_loss(
    model: Any, images: torch.Tensor, labels: torch.Tensor, neighbours: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the labels, and of the answers before the step with those after it."""
    logits = model(images)
    answer = logits.detach().softmax(1)
    worst = _unit(torch.randn_like(images))
    for _ in range(STRONG.gradients):
        worst.requires_grad_()
        moved = model(images + worst)
        push = _unit(moved.detach().softmax(1) - answer)
        worst = _unit(torch.autograd.grad((push * moved).sum(), worst)[0])
    towards = neighbours - images[:, None]
    along = _unit((towards.transpose(1, 2) @ (towards @ worst[..., None]))[..., 0])
    step = STRONG.adversarial_step * worst + STRONG.neighbour_step * along
    after = functional.cross_entropy(model(images + step), answer)  # the divergence, but for a constant
    return functional.cross_entropy(logits, labels) + after


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors, dim=-1, eps=1e-20)


def _network(widths: tuple[int, ...], seed: int, normalisation_epsilon: float = 0.0) -> Any:
    """Builds a network with Keras' initial weights; an epsilon asks for batch normalisation in place of biases."""
    modules: list[Any] = []
    kernels = glorot_uniform(widths, seed)
    for number, kernel in enumerate(kernels, 1):
        normalised = normalisation_epsilon > 0 and number < len(kernels)
        layer = torch.nn.Linear(*kernel.shape, bias=not normalised)
        modules.append(layer)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(kernel.T))
            if layer.bias is not None:
                layer.bias.zero_()
        if normalised:
            modules.append(torch.nn.BatchNorm1d(kernel.shape[1], eps=normalisation_epsilon))
        if number < len(kernels):
            modules.append(torch.nn.ReLU())
    return torch.nn.Sequential(*modules)


def _adamw(model: Any) -> torch.optim.Optimizer:
    """AdamW with weight decay on the kernels of the hidden layers only."""
    layers = [module for module in model if isinstance(module, torch.nn.Linear)]
    hidden = [layer.weight for layer in layers[:-1]]
    others = [parameter for parameter in model.parameters() if all(parameter is not one for one in hidden)]
    groups = [
        {"params": hidden, "weight_decay": STRONG.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, eps=STRONG.epsilon, fused=True)


def _update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = float(rate)
    optimizer.step()


def _pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.reshape(len(images), -1)).float() / 255


def _predict(model: Any) -> Predict:
    model.train(False)

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(_pixels(images)).argmax(1).numpy()

    return predict
