"""The jobs as people see them: queues, single jobs, workers, schedules, and what can be done by hand."""
