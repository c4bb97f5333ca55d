"""`GET /api/v1/gate`: is this image, as Harbor names it now, usable at these destinations?

In: a question (`asked`). `evaluating` asks Harbor what the tag names, `places` says where that has
to be, the destinations are looked at, `deciding` judges each of them and all together. `waiting`
holds those who want to wait, many of whom share an answer; `route` is its HTTP.
"""
