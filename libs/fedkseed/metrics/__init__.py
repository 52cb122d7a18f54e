"""What is counted, and where it can be read: every metric of every service, with what it means.

Names are those of Prometheus' conventions. Labels have fixed sets of values, and every series is there from the start: how
many there are depends on nothing that happens, neither on clients nor on rounds. Nothing here is global.
"""
