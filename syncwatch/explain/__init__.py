"""Why an image goes somewhere, or why not: policy by policy, by Harbor's own rules.

In: a REF. `answering` finds out: `naming` says which source is meant, `known` reads the store,
`judging` applies one policy to one image (with `filters`). `telling` makes the answer of it, and
`route` is its HTTP; `looking` has names looked at that nothing is written down of.
"""
