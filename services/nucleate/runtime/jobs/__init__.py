"""Long work by client-chosen id: started once, watched by many, resumed after a crash.

A job lives in the store under `jobs/<service>/<job_id>/`: `request` (which request the id stands for),
`attempts/<n>/{owner,state,cancel}` (who works on it and how far it is), `checkpoint` and `result`.
"""

from __future__ import annotations

from nucleate.runtime.jobs.handlers import job_rpc
from nucleate.runtime.jobs.job import CHECKPOINT_EVERY, Job
from nucleate.runtime.jobs.runner import JobRunner
from nucleate.runtime.jobs.servicer import JobsServicer
from nucleate.runtime.jobs.worker import Work

__all__ = ["CHECKPOINT_EVERY", "Job", "JobRunner", "JobsServicer", "Work", "job_rpc"]
