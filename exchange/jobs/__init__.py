"""Jobs: the specification that is approved and executed, and the components it may name.

Nothing here reaches data or the network: a node gives a component its inputs and its channel.
"""
