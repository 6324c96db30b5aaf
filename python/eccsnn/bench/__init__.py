"""Benchmarks that anyone can repeat: `eccsnn bench lif | memory | train-step | compile | codec | events`.

Each measures eccsnn beside its peers (SpikingJelly, snnTorch, norse) or a physical bound in the same process, and
writes one JSON file that holds the command, versions, hardware and settings. `eccsnn bench table` turns such files into
a page.
"""
