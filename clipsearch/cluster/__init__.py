"""Embedding on a cluster: a job for Ray Data that uses the local pipeline's own functions.

`source` finds photos, `plan` cuts what is not finished into shards, `embedding` embeds one on one worker, and
`job` has Ray do that for all of them. Only `job` and `nodes` import Ray.
"""
