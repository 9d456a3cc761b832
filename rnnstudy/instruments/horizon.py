"""How far back the gradient reaches, and how fast it decays."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_at_least, require_finite
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs import tags
from rnnstudy.writers.base import Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class Horizon(Instrument):
    """The largest lag whose gradient is within a factor of the one at lag 0, and the slope over lags with its error.

    With n_lag the mean over the batch of ||dL/dh_t|| (total, per sequence), L the answer's loss alone, lag counted back
    from the last time step:

        horizon/{state}/layer_{index}/lag           largest lag with n_lag >= n_0 / factor, in time steps
        horizon/{state}/layer_{index}/decay         slope of the line fitted to log10 n_lag: powers of ten per time
                                                    step, negative where the gradient vanishes on its way back
        horizon/{state}/layer_{index}/decay_error   standard error of that slope

    A gradient that grows, or falls below and comes back, counts as within. `lag` is capped at the length of a sequence
    less 1: one at the cap says that the gradient reaches at least as far. The line is fitted by least squares over the
    lags whose n_lag is not exactly zero; it is often a poor description, which the error shows.

    A zero is a measured norm, and not within. Inf or NaN is not a norm, and may be within or not: all three figures are
    NaN if one stands at any lag. Also NaN are `lag` where n_0 is zero, `decay` with fewer than 2 lags to fit, and
    `decay_error` with fewer than 3. No figures of a task whose answers end elsewhere than at the last time step, such
    as `associative_recall`.

    Args:
        factor: Factor below n_0 that counts as within, at least 1.
    """

    factor: float = 100.0

    def __post_init__(self) -> None:
        require_at_least("factor", self.factor, 1)
        require_finite("factor", self.factor)

    @override
    def measure(self, record: Record) -> Measurements:
        measured: dict[str, Measurement] = {}
        if not record.task.facts.answer_at_end:
            return measured
        for index, states in enumerate(record.answer_norms):
            for state, of_sequences in states.items():
                place = {"state": state, "layer": index}
                norms = of_sequences.mean(-1).flip(0)
                # A single lag that is not known leaves neither a furthest one nor a slope.
                norms = torch.where(norms.isfinite().all(0), norms, torch.nan)
                decay, error = fit_line(norms.log10())
                measured[tags.HORIZON.format(**place)] = Scalar(values=reach(norms, self.factor))
                measured[tags.DECAY.format(**place)] = Scalar(values=decay)
                measured[tags.DECAY_ERROR.format(**place)] = Scalar(values=error)
        return measured


def reach(norms: Float[Tensor, "lag replica"], factor: float) -> Float[Tensor, " replica"]:
    """Return the largest lag with a norm of at least that at lag 0 over `factor`; NaN if that is zero or NaN."""
    within = norms >= norms[0] / factor
    lags = torch.arange(len(norms), dtype=norms.dtype, device=norms.device)
    furthest = torch.where(within, lags[:, None], 0).amax(0)
    return torch.where(norms[0] > 0, furthest, torch.nan)


def fit_line(logs: Float[Tensor, "lag replica"]) -> tuple[Float[Tensor, " replica"], Float[Tensor, " replica"]]:
    """Return the slope against the lag, and its standard error, by least squares over what is finite."""
    used = logs.isfinite()
    count = used.sum(0).to(logs.dtype)
    lags = torch.arange(len(logs), dtype=logs.dtype, device=logs.device)[:, None].expand_as(logs)

    def centred(values: Tensor) -> Tensor:
        kept = torch.where(used, values, 0)
        return torch.where(used, values - kept.sum(0) / count, 0)

    across, up = centred(lags), centred(logs)
    spread = across.square().sum(0)
    slope = (across * up).sum(0) / spread
    residual = (up - slope * across).square().sum(0)
    error = (residual / (count - 2) / spread).sqrt()
    return torch.where(count >= 2, slope, torch.nan), torch.where(count >= 3, error, torch.nan)
