"""The job core: what is wanted, the plan, the runner and the record of a run."""
