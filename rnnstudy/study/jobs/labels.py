"""Names of a sweep's jobs on the screen and in errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.job import Job
from rnnstudy.runs.labels import short_labels


def labelled(jobs: Sequence[Job]) -> list[Job]:
    """Number the jobs of a sweep, and add to their labels what they do not share; a single job stays as it is."""
    if len(jobs) == 1:
        return list(jobs)
    shared = set(jobs[0].overrides).intersection(*(other.overrides for other in jobs))
    owns = [[override.partition("=") for override in job.overrides if override not in shared] for job in jobs]
    short = short_labels(list(dict.fromkeys(key for own in owns for key, _, _ in own)))
    named = []
    for place, (job, own) in enumerate(zip(jobs, owns, strict=True), 1):
        values = [f"{short[key]}={value}" for key, _, value in own if key not in IN_SHORT]
        named.append(replace(job, label=", ".join([f"[{place}/{len(jobs)}] {job.label}", *values])))
    return named


@contextmanager
def naming_the_run(job: Job, *, is_sweep: bool) -> Iterator[None]:
    """Make a ConfigError about a job of a sweep name the job."""
    try:
        yield
    except ConfigError as error:
        if not is_sweep:
            raise
        raise ConfigError(f"{error} (in the run {' '.join(job.overrides)})") from None
