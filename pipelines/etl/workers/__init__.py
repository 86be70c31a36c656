"""A build's tasks, and who runs them: this process, worker processes, or a Dask cluster.

A task is a function of a stage's context and a number. It writes its files into a folder of its
own, which gets its name when the task is done: so a task is done once or not at all, whoever ran
it, and a build that was killed goes on from the tasks that are done.
"""
