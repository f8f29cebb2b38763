"""The loop (report section 3.2.3): un-annotated images through cycles to a model, its scores and a report.

A run is a durable workflow: every step is a job of one of the services, named by run and step, and its result is journalled by
reference. `cycle` reads top to bottom; `steps` says what each step asks of which service; `journal` keeps the place.
"""
