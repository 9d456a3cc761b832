import threading

import pytest
import torch

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import Numerics, select_device

TINY = 1e-42


def halved() -> float:
    return float(torch.tensor([TINY], dtype=torch.float32).mul(0.5).double())


def test_subnormals_are_flushed_inside_and_kept_outside():
    assert halved() > 0
    with Numerics(flush_subnormals=True).applied():
        assert halved() == 0
    assert halved() > 0
    with Numerics(flush_subnormals=False).applied():
        assert halved() > 0


def test_subnormals_are_flushed_in_a_worker_thread_that_applies_the_policy():
    seen = []

    def work():
        with Numerics().applied():
            seen.append(halved())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0.0]


def test_threads_are_set_and_put_back():
    before = torch.get_num_threads()
    with Numerics(threads=before + 1).applied():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "tpu", ""])
def test_unknown_devices(name):
    with pytest.raises(ConfigError, match=r"device must be cpu, cuda, cuda:N or auto"):
        select_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so the error cannot arise")
def test_no_cuda_says_how_to_go_on():
    with pytest.raises(ConfigError, match=r"device=cuda asks for CUDA.*run with device=cpu"):
        select_device("cuda")
    assert select_device("auto") == torch.device("cpu")
