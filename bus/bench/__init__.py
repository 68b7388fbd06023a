"""How fast is the bus? Measures it beside a plain server, in turn, and checks everything that comes back.

`make bench` runs it. `docs/performance.md` says what is measured, and what the figures can and cannot tell.
"""
