"""`make sweep`: every combination of a grid of parameters, through the queue of DVC.

grid      a YAML file -> the combinations, checked
queue     DVC's queue and its workers, by their commands
progress  what the live logs say of the experiments at work
run       the command: queue what is not known, start workers, watch, stop, go on
"""
