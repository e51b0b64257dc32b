"""Which back end is chosen, what is said when one is missing, and calls from several threads at once."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dermomamba import scan
from dermomamba.errors import BackendError
from dermomamba.scan import BACKENDS, backend_for, cross_scan, mamba_ssm, selective_scan, why_unavailable

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("DERMOMAMBA_SCAN", raising=False)
    scan._say_once.cache_clear()
    yield
    scan._say_once.cache_clear()


def parameters(inner=8, states=16, seed=0):
    maker = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=maker)

    return (
        normal(4, 1 + 2 * states, inner) * 0.3, normal(4, inner, 1), normal(4, inner) - 3,
        torch.arange(1, states + 1.0).log().repeat(4 * inner, 1), normal(4 * inner),
    )  # fmt: skip


def without(monkeypatch, *missing):
    """As if these packages were not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in missing else real(name, *a))


def test_the_processor_gets_the_compiled_scan():
    assert backend_for("cpu") == "cpu"
    assert backend_for(torch.device("cpu")) == "cpu"


def test_other_devices_get_plain_pytorch():
    assert backend_for("mps") == "chunked"
    assert backend_for("meta") == "chunked"


def test_without_numba_plain_pytorch_computes_and_says_so_once(monkeypatch, caplog):
    without(monkeypatch, "numba")
    with caplog.at_level(logging.WARNING, logger="dermomamba.scan"):
        assert backend_for("cpu") == "chunked"
        x = torch.randn(1, 8, 3, 3)
        torch.testing.assert_close(cross_scan(x, *parameters()), cross_scan(x, *parameters(), backend="reference"))
        backend_for("cpu")
    assert len(caplog.records) == 1
    assert "pip install numba" in caplog.records[0].getMessage()


@pytest.mark.parametrize("name", ["reference", "chunked", "cpu"])
def test_the_environment_overrides(monkeypatch, name):
    monkeypatch.setenv("DERMOMAMBA_SCAN", name)
    assert backend_for("cpu") == name


def test_an_argument_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("DERMOMAMBA_SCAN", "no-such-thing")
    cross_scan(torch.randn(1, 8, 2, 2), *parameters(), backend="chunked")


@pytest.mark.parametrize("name", ["mamba_ssm", "typo"])
def test_an_impossible_request_is_refused_with_what_to_do(monkeypatch, name):
    monkeypatch.setenv("DERMOMAMBA_SCAN", name)
    with pytest.raises(BackendError) as error:
        backend_for("cpu")
    message = str(error.value)
    assert f"DERMOMAMBA_SCAN={name}" in message
    assert "leave it unset" in message


def test_a_misspelt_back_end_lists_the_real_ones():
    with pytest.raises(BackendError) as error:
        cross_scan(torch.randn(1, 8, 2, 2), *parameters(), backend="fastest")
    assert all(name in str(error.value) for name in BACKENDS)


def test_the_fused_kernel_needs_its_device(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("DERMOMAMBA_SCAN", "fused")
    with pytest.raises(BackendError):
        backend_for("cpu")


def test_the_fused_kernel_has_no_plain_scan(monkeypatch):
    operands = torch.randn(1, 8, 5), torch.rand(1, 8, 5), -torch.rand(8, 4), *torch.randn(2, 1, 4, 5)
    with pytest.raises(BackendError, match="four-direction"):
        selective_scan(*operands, backend="fused")
    monkeypatch.setenv("DERMOMAMBA_SCAN", "fused")  # speaks of cross_scan; the plain scan goes on choosing
    assert selective_scan(*operands).shape == (1, 8, 5)


def test_the_compiled_scan_is_not_for_other_devices():
    with pytest.raises(BackendError, match="processor"):
        selective_scan(
            *(t.to("meta") for t in (torch.randn(1, 8, 5), torch.rand(1, 8, 5), -torch.rand(8, 4))),
            *torch.randn(2, 1, 4, 5).to("meta"),
            backend="cpu",
        )


def test_cuda_takes_the_first_that_proves_itself(monkeypatch):
    cuda = torch.device("cuda", 0)
    answers = {"fused": None, "mamba_ssm": None}
    monkeypatch.setattr(scan, "why_unavailable", lambda name, device: answers[name])
    assert backend_for(cuda) == "fused"
    answers["fused"] = "too old."
    assert backend_for(cuda) == "mamba_ssm"
    answers["mamba_ssm"] = "not installed."
    assert backend_for(cuda) == "chunked"


def test_mamba_ssm_names_its_command(monkeypatch):
    mamba_ssm.why_unavailable.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    without(monkeypatch, "mamba_ssm", "causal_conv1d")
    reason = why_unavailable("mamba_ssm", torch.device("cuda", 0))
    mamba_ssm.why_unavailable.cache_clear()
    assert reason is not None
    assert "requirements-gpu.txt" in reason


def fake_kernel(error):
    """The reference under mamba-ssm's name, wrong by a factor."""

    def kernel(u, delta, A, B, C, D, z, bias, softplus):
        return selective_scan(u, delta, A, B, C, D, z, bias, softplus, backend="reference") * (1 + error)

    return lambda: kernel


def test_the_probe_tells_a_right_kernel_from_a_wrong_one(monkeypatch):
    monkeypatch.setattr(mamba_ssm, "_kernel", fake_kernel(0.0))
    assert mamba_ssm._probe(torch.device("cpu")) is None
    monkeypatch.setattr(mamba_ssm, "_kernel", fake_kernel(0.01))
    assert "differs from the reference" in mamba_ssm._probe(torch.device("cpu"))


@pytest.mark.parametrize(
    "change",
    [
        {"delta": torch.rand(1, 8, 4)},
        {"A": -torch.rand(7, 4)},
        {"B": torch.rand(1, 4, 6)},
        {"B": torch.rand(1, 3, 4, 5), "C": torch.rand(1, 3, 4, 5)},
        {"C": torch.rand(1, 2, 4, 5)},
    ],
    ids=["delta", "A", "length", "groups", "C"],
)
def test_shapes_that_do_not_fit_are_refused(change):
    operands = {
        "u": torch.rand(1, 8, 5), "delta": torch.rand(1, 8, 5), "A": -torch.rand(8, 4),
        "B": torch.rand(1, 4, 5), "C": torch.rand(1, 4, 5),
    }  # fmt: skip
    assert selective_scan(**operands).shape == (1, 8, 5)
    with pytest.raises(ValueError, match="must"):
        selective_scan(**{**operands, **change})


@pytest.mark.parametrize("which", range(5))
def test_cross_scan_refuses_parameters_that_do_not_fit(which):
    given = list(parameters())
    given[which] = given[which][..., :-1, :] if given[which].ndim > 1 else given[which][:-1]
    with pytest.raises(ValueError, match="must be"):
        cross_scan(torch.randn(1, 8, 2, 2), *given)


def test_four_threads_at_once_get_the_same_answer_and_leave_torch_alone():
    torch.manual_seed(0)
    x = torch.randn(3, 8, 40, 32, requires_grad=True)
    before = torch.get_num_threads()

    def work(backend):
        y = cross_scan(x, *parameters(), backend=backend)
        return y.detach(), torch.autograd.grad(y.square().sum(), x)[0]

    start = threading.Barrier(4)

    def at_once(_):
        start.wait()
        return [work("cpu") for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        results = [pair for each in pool.map(at_once, range(4)) for pair in each]
    want, want_grad = work("chunked")
    for y, grad in results:
        torch.testing.assert_close(y, want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(grad, want_grad, rtol=1e-3, atol=1e-4)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize(("batch", "inner"), [(1, 8), (1, 32), (3, 16)])
def test_the_number_of_threads_does_not_change_the_result(threads, batch, inner):
    x, before = torch.randn(batch, inner, 9, 11), torch.get_num_threads()
    p = parameters(inner)

    def both():
        leaf = x.clone().requires_grad_()
        y = cross_scan(leaf, *p, backend="cpu")
        return y.detach(), torch.autograd.grad(y.square().sum(), leaf)[0]

    try:
        torch.set_num_threads(1)
        want = both()
        torch.set_num_threads(threads)
        got = both()
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for a, b in zip(got, want, strict=True):
        assert (a - b).abs().max() < 1e-5 * b.abs().max()


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    ).stdout.strip()  # fmt: skip


def test_importing_the_package_does_not_import_numba_or_triton():
    code = "import sys, dermomamba.scan; print([m for m in ('numba', 'triton', 'mamba_ssm') if m in sys.modules])"
    assert run_python(code) == "[]"


def test_kernels_are_kept_where_numba_is_told_and_loaded_the_second_time(tmp_path):
    code = (
        "from dermomamba.scan.cpu_cross import blocks_of as kernel; kernel(6, 8, 16); s = kernel.stats; "
        "print(sum(s.cache_hits.values()), sum(s.cache_misses.values()))"
    )
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1"
    assert list(tmp_path.glob("dermomamba-*/**/*.nbi"))
    assert run_python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0"


def test_a_machine_where_nothing_may_be_written_still_computes(monkeypatch):
    pytest.importorskip("numba")
    from dermomamba.scan import cpu_compile

    cpu_compile.cache_directory.cache_clear()
    monkeypatch.setattr(cpu_compile, "_writable", lambda directory: False)
    try:
        assert cpu_compile.cache_directory() is None
        assert cpu_compile.compiled(lambda a, b: a + b)(1, 2) == 3
    finally:
        monkeypatch.undo()
        cpu_compile.cache_directory.cache_clear()


def test_a_directory_that_cannot_be_made_is_not_writable(tmp_path):
    from dermomamba.scan import cpu_compile

    (tmp_path / "file").write_text("")
    assert not cpu_compile._writable(tmp_path / "file" / "inside")
    assert cpu_compile._writable(tmp_path / "new" / "inside")


def test_warm_up_compiles_in_the_background():
    from dermomamba.scan import cpu, cpu_cross

    cpu.warm_up(backward=True).join()
    assert cpu_cross.forward_worker.signatures
    assert cpu_cross.backward_worker.signatures


def test_states_are_kept_only_when_gradients_are_wanted(monkeypatch):
    from dermomamba.scan import cpu

    kept = []
    real = cpu.run
    monkeypatch.setattr(cpu, "run", lambda worker, tasks, *a: (kept.append(a[7].size), real(worker, tasks, *a)))
    x, p = torch.randn(1, 8, 9, 9), [t.requires_grad_() for t in parameters()]
    cross_scan(x, *p, backend="cpu")
    with torch.no_grad():
        cross_scan(x, *p, backend="cpu")
    with torch.inference_mode():
        cross_scan(x, *p, backend="cpu")
    assert kept == [4 * 3 * 16 * 8, 0, 0]  # four directions, at most three blocks, 16 states of 8 channels
