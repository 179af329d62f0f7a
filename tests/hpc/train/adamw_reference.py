"""The optimizer as formulas, for the tests of the compiled one."""

import numpy as np


class Reference:
    """torch.optim.AdamW after clip_grad_norm_, with an average as in MODEL 4.4; in float64."""

    def __init__(self, weights, *, weight_decay, max_norm, ema_decay):
        self.p = {n: w.astype(np.float64) for n, w in weights.items()}
        self.m = {n: np.zeros_like(w) for n, w in self.p.items()}
        self.v = {n: np.zeros_like(w) for n, w in self.p.items()}
        self.e = {n: w.copy() for n, w in self.p.items()}
        self.weight_decay, self.max_norm, self.ema_decay = weight_decay, max_norm, ema_decay
        self.n = 0

    def step(self, gradients, rate):
        self.n += 1
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients.values()))
        decay = min(self.ema_decay, (1 + self.n) / (10 + self.n))
        for name, g in gradients.items():
            g = g * min(1.0, self.max_norm / (norm + 1e-6))
            self.p[name] = self.p[name] * (1 - rate * self.weight_decay)
            self.m[name] = 0.9 * self.m[name] + 0.1 * g
            self.v[name] = 0.999 * self.v[name] + 0.001 * g * g
            denominator = np.sqrt(self.v[name]) / np.sqrt(1 - 0.999**self.n) + 1e-8
            self.p[name] = self.p[name] - rate / (1 - 0.9**self.n) * self.m[name] / denominator
            self.e[name] = self.e[name] - (1 - decay) * (self.e[name] - self.p[name])
        return norm
