"""Long work by client-chosen id: started once, watched by many, resumed after a crash.

A job lives in the store under `jobs/<service>/<job_id>/`: `request` (which request the id stands for),
`attempts/<n>/{owner,state,cancel}` (who works on it and how far it is), `checkpoint` and `result`.
"""

from __future__ import annotations

from nucleate.runtime.jobs.job import Job
from nucleate.runtime.jobs.runner import JobRunner
from nucleate.runtime.jobs.servicer import JobsServicer

__all__ = ["Job", "JobRunner", "JobsServicer"]
