"""Jobs that simulated parties play: all roles in one process, on tables that are made up, beside plaintext.

Nobody is protected from anybody here. The tables are synthetic twins, which owners let every member have.
"""
