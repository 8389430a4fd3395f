"""The streaming content monitor: token scores from a causal backbone, and the loss they learn by.

Li et al. 2025, arXiv 2506.09996. Two heads read the backbone's states: the *token* head scores each
token of an answer from what stands before it; the *holistic* head scores the answer as a whole from
its last token and is there for training alone. Published checkpoints name them `token_classifier`
and `sequence_classifier`; so does this module, so that their weights load.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

IGNORED = -100
"""The label of a token that teaches nothing: the prompt, padding, what no word stands for."""
BENIGN, HARMFUL = 0, 1
LEAST = 1e-8
"""Under this the argument of the logarithm in the logic loss is not let fall."""


class Scores(NamedTuple):
    """What the heads say."""

    tokens: Tensor
    """Logits of benign and harmful for each token, shape (batch, time, 2)."""
    whole: Tensor
    """The same for each answer, shape (batch, 2)."""


class Weights(NamedTuple):
    """How the parts of the loss are weighed (the paper: 0.6 and 1)."""

    token: float = 0.6
    """Alpha: of the token loss; the holistic loss has the rest."""
    logic: float = 1.0
    """Beta: of the logic loss."""


PAPER = Weights()


class Loss(NamedTuple):
    """The loss and its parts, each a scalar."""

    whole: Tensor
    token: Tensor
    holistic: Tensor
    logic: Tensor


class Monitor(nn.Module):
    """A causal backbone with both heads.

    Args:
        backbone: Turns token numbers and their mask into states, shape (batch, time, width), none
            of which depends on later tokens.
        width: Of its states.
        drop: Share of activations that the token head drops in training.
    """

    def __init__(self, backbone: nn.Module, width: int, drop: float = 0.1) -> None:
        super().__init__()
        self.backbone = backbone
        self.drop = nn.Dropout(drop)
        self.token_classifier = nn.Linear(width, 2)
        self.sequence_classifier: nn.Linear | None = nn.Linear(width, 2, bias=False)
        nn.init.xavier_uniform_(self.token_classifier.weight)
        nn.init.zeros_(self.token_classifier.bias)
        nn.init.xavier_uniform_(self.sequence_classifier.weight)

    def forward(self, pieces: Tensor, mask: Tensor) -> Scores:
        """Score every token and every answer.

        Args:
            pieces: Token numbers, shape (batch, time), padded behind.
            mask: True where a token is real, shape (batch, time).

        Raises:
            RuntimeError: The holistic head was taken off.
        """
        if self.sequence_classifier is None:
            raise RuntimeError("the holistic head was taken off; use `scores`")
        states = self.backbone(pieces, mask)
        last = mask.sum(dim=1).clamp(min=1) - 1
        ends = states[torch.arange(len(states), device=states.device), last]
        return Scores(self.token_classifier(self.drop(states)), self.sequence_classifier(ends))

    def scores(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Return the probability of harm at each token, shape (batch, time)."""
        states = self.backbone(pieces, mask)
        harm: Tensor = self.token_classifier(self.drop(states)).softmax(dim=-1)[..., HARMFUL]
        return harm

    def detach_holistic(self) -> None:
        """Take the holistic head off; token scores stay the same, to the bit."""
        self.sequence_classifier = None


def loss(scores: Scores, labels: Tensor, answers: Tensor, weights: Weights = PAPER) -> Loss:
    """Return alpha * token + (1 - alpha) * holistic + beta * logic.

    Args:
        scores: What the heads say.
        labels: Of tokens: 0 benign, 1 harmful, `IGNORED` where there is none; shape (batch, time).
        answers: Whether each answer is harmful, `IGNORED` where nobody has said; shape (batch,).
        weights: How the parts are weighed.
    """
    known = labels != IGNORED
    token = _where_known(scores.tokens, labels)
    holistic = _where_known(scores.whole, answers.long())
    harm = scores.tokens.softmax(dim=-1)[..., HARMFUL]
    implied = logic(scores.whole.softmax(dim=-1)[:, HARMFUL], harm, known)
    whole = weights.token * token + (1 - weights.token) * holistic + weights.logic * implied
    return Loss(whole, token, holistic, implied)


def _where_known(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy over what has a label; 0 if nothing has."""
    known = labels != IGNORED
    if not bool(known.any()):
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known], labels[known])


def echoed(scores: Scores, said: Tensor) -> Tensor:
    """Return how far token scores are from what a teacher said of the text up to each token.

    Cross entropy with the teacher's probabilities (distillation, Hinton et al. 2015,
    arXiv 1503.02531, at temperature 1), the mean over the tokens it was asked at; 0 if none.

    Args:
        scores: What the heads say.
        said: Probability of harm by the teacher, not a number where there is none; shape
            (batch, time).
    """
    known = ~said.isnan()
    if not bool(known.any()):
        return scores.tokens.sum() * 0.0
    logits = scores.tokens[..., HARMFUL] - scores.tokens[..., BENIGN]
    return F.binary_cross_entropy_with_logits(logits[known], said[known])


def logic(whole: Tensor, tokens: Tensor, known: Tensor) -> Tensor:
    """Return the loss of "if the answer is harmful, some token is", by product logic.

    -log(1 - c + c * max_i c_i), the mean over answers. Only the token that scores highest receives
    a gradient, and an answer that is not held harmful asks nothing of its tokens. The highest is
    taken over labelled tokens alone; an answer without any implies nothing.

    Args:
        whole: Probability that each answer is harmful, shape (batch,).
        tokens: Probability of harm at each token, shape (batch, time).
        known: Which tokens count, shape (batch, time).
    """
    highest = tokens.masked_fill(~known, 0.0).amax(dim=1)
    value = -torch.log((1 - whole + whole * highest).clamp(min=LEAST))
    some = known.any(dim=1)
    return (value * some).sum() / some.sum().clamp(min=1)
