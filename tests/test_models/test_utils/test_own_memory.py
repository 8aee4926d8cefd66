# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from torch import nn

from csd_mmrazor.models.utils import as_in_training, check_ties, own_memory
from csd_mmrazor.models.utils.own_memory import is_overlapping

ONE = torch.ones(1)


@pytest.mark.parametrize(
    'tensor, expected',
    [
        (ONE.expand(4), True),
        (torch.ones(3, 1).expand(3, 4), True),
        (torch.ones(5).unfold(0, 3, 1), True),
        (torch.ones(3, 4).t(), False),
        (torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last), False),
        (torch.ones(6)[::2], False),
        (torch.ones(4, 6)[:, 1:3], False),
        (ONE.expand(1), False),
        (torch.ones(0, 3), False),
        (torch.tensor(3.0), False),
    ],
)
def test_what_overlaps(tensor, expected):
    assert is_overlapping(tensor) is expected
    places = torch.arange(1000).as_strided(tensor.shape, tensor.stride())
    assert (len(places.unique()) < places.numel()) is expected


class Net(nn.Module):
    def __init__(self, **buffers):
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.bn = nn.BatchNorm1d(2)


def test_each_element_gets_memory():
    values = torch.arange(3.0)
    net = Net(e=values[:, None].expand(3, 4), whole=torch.ones(2), none=None)
    net.bn.weight = nn.Parameter(ONE.expand(2), requires_grad=False)
    kept = net.whole
    state = {k: v.clone() for k, v in net.state_dict().items()}
    assert own_memory(net, 'teacher') is net
    assert net.whole is kept and net.none is None
    for key, value in net.state_dict().items():
        assert torch.equal(value, state[key]) and not is_overlapping(value)
    net.load_state_dict(state)
    net.e[0, 0] = 7
    assert net.e[0].tolist() == [7, 0, 0, 0] and values[0] == 0


def test_what_cannot_be_told_apart_is_refused():
    base = torch.ones(1)
    for buffers in (
        dict(e=base.expand(4), base=base),
        dict(e=base.expand(4), f=base.expand(2)),
    ):
        with pytest.raises(ValueError, match='e of student .Net. .*clone'):
            own_memory(Net(**buffers), 'student')
    net = Net()
    net.bn.weight = nn.Parameter(ONE.expand(2))
    with pytest.raises(ValueError, match='bn.weight of .*no optimizer'):
        own_memory(net, 'student')


def of_one_vector(net):
    values = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(values, net.parameters())


def side_by_side(net):
    """Weights whose elements take turns in memory, as parts of a matrix."""
    whole = torch.ones(3, 4)
    net.q, net.k = map(nn.Parameter, whole.chunk(2, 1))


def buffers_of_one(net):
    net.register_buffer('one', ONE)
    net.register_buffer('same', ONE.view(1, 1))


@pytest.mark.parametrize(
    'change',
    [
        of_one_vector,
        side_by_side,
        buffers_of_one,
        lambda net: net.add_module('again', net.bn),
        lambda net: net.register_parameter('again', net.bn.weight),
        lambda net: net.register_buffer('empty', net.bn.weight.data[:0]),
        lambda net: net.add_module('lazy', nn.LazyLinear(3)),
        lambda net: net.add_module('rnn', nn.LSTM(3, 4, 2)),
        lambda net: (
            net.requires_grad_(False),
            net.register_buffer('again', net.bn.weight.data),
        ),
    ],
)
def test_what_copies_keep_as_it_is(change):
    net = Net()
    change(net)
    check_ties(net, 'student')


@pytest.mark.parametrize(
    'make',
    [
        lambda weight: weight.data,
        lambda weight: nn.Parameter(weight.data),
        lambda weight: nn.Parameter(weight.data, requires_grad=False),
        lambda weight: weight.data[1:],
        lambda weight: weight.data.view(2, 1).expand(2, 3),
    ],
)
def test_what_copies_have_apart_is_refused(make):
    net = Net()
    net.other = nn.Conv2d(3, 4, 1)
    tied = make(net.bn.weight)
    if isinstance(tied, nn.Parameter):
        net.other.weight = tied
    else:
        net.other.register_buffer('tied', tied)
    message = r'bn\.weight.* of student \(Net\) share memory.*one parameter'
    with pytest.raises(ValueError, match=message):
        check_ties(net, 'student')


def test_passes_of_training_leave_any_buffer_as_it_was():
    """Expanded, overlapping, in the memory of another one, or sparse."""
    base = torch.arange(6.0)
    net = Net(
        e=ONE.expand(4),
        windows=torch.arange(5.0).unfold(0, 3, 1),
        base=base,
        part=base[1:4],
        same=base,
        sparse=torch.eye(2).to_sparse(),
        empty=torch.ones(0, 2),
        strided=torch.arange(6.0)[::2],
        nan=torch.full((1,), float('nan')).expand(3),
    )
    before = {k: v.clone() for k, v in net.named_buffers()}
    with as_in_training(net):
        net.bn(torch.randn(4, 2))
        net.part += 1
        net.e = net.e + 1
        assert net.base[1] == 2 and net.bn.running_mean.any()
    for key, value in net.named_buffers():
        value, expected = value.to_dense(), before[key].to_dense()
        assert torch.equal(value.nan_to_num(9), expected.nan_to_num(9)), key
    assert net.part.data_ptr() == base[1:].data_ptr()
