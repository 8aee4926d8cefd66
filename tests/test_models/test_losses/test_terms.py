# Copyright (c) csd_mmrazor developers. All rights reserved.
"""One-hot, CSD and adversarial term against float64 and finite differences."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build

from csd_mmrazor.models import AdversarialLoss, CSDLoss, OneHotLoss

TERMS = ('OneHotLoss', 'CSDLoss', 'AdversarialLoss', 'BNStatisticsLoss')


def log_softmax(logits):
    logits = logits.detach().numpy().astype(np.float64)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_one_hot():
    logits, labels = torch.randn(7, 5), torch.randint(5, (7,))
    expected = -log_softmax(logits)[np.arange(7), labels.numpy()].mean()
    loss = OneHotLoss(3.0)(logits_t=logits, labels=labels)
    assert loss.item() == pytest.approx(3 * expected, rel=1e-6)


def test_csd():
    logits = F.normalize(torch.randn(8, 20), dim=1)
    labels = torch.randint(20, (8,))
    expected = log_softmax(logits)[np.arange(8), labels.numpy()].mean()
    loss = CSDLoss(10.0)(aux_logits=logits, joint_labels=labels)
    assert loss.item() == pytest.approx(10 * expected, rel=1e-6)
    assert CSDLoss().loss_weight == 10
    # Logits of length 1 bound it.
    assert -10 * (np.log(20) + 2) <= loss.item() <= 0


def test_adversarial():
    logits_s, logits_t = torch.randn(7, 5), torch.randn(7, 5)
    log_s, log_t = log_softmax(logits_s), log_softmax(logits_t)
    expected = -(np.exp(log_t) * (log_t - log_s)).sum(1).mean()
    loss = AdversarialLoss(2.0)(logits_s=logits_s, logits_t=logits_t)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)
    by_torch = F.kl_div(
        logits_s.double().log_softmax(1),
        logits_t.double().log_softmax(1),
        reduction='batchmean',
        log_target=True,
    )
    assert loss.item() == pytest.approx(-2 * by_torch.item(), rel=1e-5)


def test_adversarial_where_both_agree():
    logits_s, logits_t = torch.randn(2, 20, 3)
    log_s, log_t = log_softmax(logits_s), log_softmax(logits_t)
    divergences = (np.exp(log_t) * (log_t - log_s)).sum(1)
    agreed = log_s.argmax(1) == log_t.argmax(1)
    assert 0 < agreed.sum() < 20
    # Averaged over all images, also those that do not count.
    expected = -divergences[agreed].sum() / 20
    loss = AdversarialLoss(2.0, agreed_only=True)(logits_s, logits_t)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)


@pytest.mark.parametrize('agreed_only', [False, True])
def test_adversarial_of_a_teacher_that_is_very_sure(agreed_only):
    """So sure that float32 has 0 for the other classes."""
    logits_s = torch.tensor([[1.0, -1.0, 0.5], [0.2, 0.1, -0.3]])
    logits_t = torch.tensor([[200.0, 0.0, -5.0], [0.5, 0.0, -0.5]])
    logits_s.requires_grad_()
    logits_t.requires_grad_()
    loss = AdversarialLoss(agreed_only=agreed_only)(logits_s, logits_t)
    loss.backward()
    exact_s, exact_t = (
        logits.detach().double().requires_grad_()
        for logits in (logits_s, logits_t)
    )
    log_s, log_t = exact_s.log_softmax(1), exact_t.log_softmax(1)
    expected = -(log_t.exp() * (log_t - log_s)).sum(1).mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for found, exact in ((logits_s, exact_s), (logits_t, exact_t)):
        torch.testing.assert_close(found.grad, exact.grad.float())


def test_gradients_by_finite_differences():
    labels = torch.randint(6, (4,))
    a = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    b = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda x: OneHotLoss(1.5)(x, labels), (a,))
    assert check(lambda x: CSDLoss(1.5)(F.normalize(x, dim=1), labels), (a,))
    assert check(AdversarialLoss(1.5), (a, b))


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('weight', [-1, float('nan'), float('inf')])
def test_bad_weights(name, weight):
    with pytest.raises(ValueError, match=f'loss_weight of {name} .* but got'):
        build(dict(type=name, loss_weight=weight))
