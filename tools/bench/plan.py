"""All cases, in their order."""

from bench.answers import SIXTEEN, Answers, NewHosts, Shares
from bench.overload import Flood, Upgrade
from bench.ovs import LinkFailure, NewPairs
from bench.state import HostMemory, Idle, StartUp

ONE = ["--switches", "1", "--window", "1024", "--macs", "2048", "--known"]
SIXTY_FOUR = ["--switches", "64", "--window", "16", "--macs", "200", "--known"]
THOUSAND = ["--switches", "1000", "--window", "4", "--macs", "20", "--known"]
OLD = ["--of", "1.0"]


def one_each(switches, macs):
    """One packet-in in flight for each switch."""
    return ["--mode", "latency", "--switches", str(switches), "--macs", str(macs), "--known"]


CASES = (
    Answers("1.3, 16 switches", SIXTEEN, paired=True, figure=("throughput, 16 switches", "60 x")),
    Answers("1.3, one switch", ONE, paired=True, figure=("throughput, one switch", "60 x")),
    Answers("1.0, 16 switches, 1000 addresses each", [*OLD, *SIXTEEN], paired=True,
            figure=("OpenFlow 1.0, 16 switches, 1000 addresses", "60 x")),
    Answers("1.0, 16 switches, 100 000 addresses each", [*OLD, "--switches", "16", "--window", "64", "--macs", "100000"],
            paired=True, figure=("OpenFlow 1.0, 16 switches, 100 000 addresses", "60 x")),
    Answers("1.3, 16 switches, one outstanding each", one_each(16, 100), paired=True,
            figure=("one outstanding each, 16 switches", "1.3 x")),
    Answers("1.3, one switch, one outstanding", one_each(1, 1000), paired=True,
            figure=("one outstanding, one switch", "0.5 x over gRPC, 0.9 x with a ring")),
    Answers("1.3, 16 switches, unpinned", SIXTEEN, paired=True, pinned=False),
    Answers("1.3, 16 switches, one outstanding each, unpinned", one_each(16, 100), paired=True, pinned=False),
    Answers("1.3, 64 switches", SIXTY_FOUR),
    Answers("1.3, 1000 switches", THOUSAND),
    Answers("1.3, 64 switches, one outstanding each", one_each(64, 100)),
    Answers("1.3, 1000 switches, one outstanding each", one_each(1000, 20)),
    Answers("1.0, one switch", [*OLD, *ONE]),
    Answers("1.0, 64 switches", [*OLD, *SIXTY_FOUR]),
    Answers("1.0, 1000 switches", [*OLD, *THOUSAND]),
    Answers("1.0, one switch, one outstanding", [*OLD, *one_each(1, 1000)]),
    Answers("1.0, 16 switches, one outstanding each", [*OLD, *one_each(16, 100)]),
    Answers("1.0, 64 switches, one outstanding each", [*OLD, *one_each(64, 100)]),
    Answers("1.0, 1000 switches, one outstanding each", [*OLD, *one_each(1000, 20)]),
    Shares(),
    NewHosts(),
    Flood(),
    Upgrade(),
    HostMemory(),
    StartUp(),
    Idle(),
    NewPairs(),
    LinkFailure(),
)

# Each kind of case once, for the short form. Those on Open vSwitch are left out: end-to-end tests have the same traffic.
KINDS = (
    "1.3, 16 switches", "1.0, 16 switches, 100 000 addresses each", "1.3, one switch, one outstanding",
    "1.3, 16 switches, one outstanding each, unpinned", "1.3, 1000 switches", "1.0, 64 switches", Shares.name,
    NewHosts.name, Flood.name, Upgrade.name, HostMemory.name, StartUp.name, Idle.name,
)
