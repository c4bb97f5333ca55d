"""From events to expectations, by Harbor's own rules.

`doublestar` and `matching` are Harbor's filters and destination names, `promises` says what one
policy promises of one event, `findings` what is wrong with policies. Those are pure. `looking`
keeps policies and registries as Harbor has them, `sources` asks what a tag names, `events` reads
deliveries, `runs` reads Harbor's executions for what no webhook told, and `planner` is the loop.
"""
