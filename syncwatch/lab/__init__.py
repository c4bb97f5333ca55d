"""The lab: a Harbor and registries that live in this process, for tests and the demo.

Harbor cannot run in CI. `LabHarbor` imitates the recorded one (tests/recordings), and the
contract test in tests/lab holds it to that; `LabRegistry` is a destination with faults on a switch.
"""
