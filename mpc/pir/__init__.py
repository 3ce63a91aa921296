"""Private information retrieval: a client reads one record of a list and its owner cannot tell which.

`mpc.pir.keyword` is the protocol: an oblivious pseudorandom function of the key (`mpc.oprf`) says in which
bin its record is and opens it, and SimplePIR (`mpc.pir.simple`) fetches the bin. `mpc.pir.build` makes and
updates the versions of a list; `mpc.pir.server` and `mpc.pir.client` answer and ask.
"""
