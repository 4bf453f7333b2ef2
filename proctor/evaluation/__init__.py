"""How well a policy and a set of analyzers do on sessions whose truth is known, before an exam needs them.

`sittings` is what can be judged, `alerts` and `measure` judge one session, `metrics` are the definitions,
`summary` puts sessions together, `spread` does it in many processes, and `text`, `figure` and `page` show it.
"""
