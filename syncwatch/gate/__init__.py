"""`GET /api/v1/gate`: is this image, as Harbor names it now, usable at these destinations?"""
