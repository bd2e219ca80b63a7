"""Measures the packet path: Morpheus beside ovs-testcontroller, in turns, on the same processor.

    make bench                        all cases; the figures go to docs/performance.md
    scripts/bench --only 'flood'      cases whose name has this; prints, and writes nothing
    scripts/bench --list              names and expected durations of the cases
    scripts/bench --short             each kind of case once and briefly, with Morpheus alone; fails where an answer is missing

All processes of a controller run on the first processor, the generator (tools/ofbench) on the second, except where a case
says "unpinned". Each run begins with an empty state, in TMPDIR. docs/performance.md says what each figure means.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from bench import page
from bench.machine import GENERATOR, IN_MEMORY, file_system
from bench.ovs import PATH, LinkFailure, NewPairs
from bench.plan import CASES, KINDS
from bench.report import Report, Settings

# Seconds of a flood, in the full form.
FLOOD = 60


def arguments():
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default="target/release", help="directory with morphd and all else")
    parser.add_argument("--ofbench", help="the generator [default: in the same directory]")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of runs for each case [5]")
    parser.add_argument("--seconds", type=float, default=2.5, help="length of the measurement of a run [2.5]")
    parser.add_argument("--flood-seconds", type=float, default=FLOOD, help=f"length of the flood [{FLOOD}]")
    parser.add_argument("--only", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--list", action="store_true", help="print names and expected durations of the cases")
    parser.add_argument("--short", action="store_true", help="check answers only, with Morpheus alone")
    parser.add_argument("--write", metavar="FILE", help="replace the tables in this file")
    args = parser.parse_args()
    args.ofbench = args.ofbench or os.path.join(args.bin_dir, "ofbench")
    if args.write and (args.only or args.short):
        parser.error("--write goes with all cases in full")
    if args.pairs < 1:
        parser.error("--pairs is at least 1")
    return args


def settings_of(args):
    """The form of the run."""
    if args.short:
        return Settings(args.bin_dir, args.ofbench, pairs=0, seconds=0.7, warmup=0.3, flood_seconds=1.5, around=(1, 2), rows=(20, 500),
                        idle_switches=200, idle_seconds=1, short=True)
    return Settings(args.bin_dir, args.ofbench, pairs=args.pairs, seconds=args.seconds, warmup=0.5,
                    flood_seconds=args.flood_seconds, around=(4, 5), rows=(1000, 1000), idle_switches=1000, idle_seconds=10, short=False)


def check_machine(settings, cases):
    """Refuses to measure where the figures would mean nothing."""
    if os.cpu_count() < 2:
        sys.exit("bench: two processors are needed, one for the controllers and one for the generator")
    if settings.short:
        return
    if any(getattr(case, "paired", False) for case in cases) and not shutil.which("ovs-testcontroller"):
        sys.exit("bench: ovs-testcontroller is missing: apt-get install openvswitch-testcontroller")
    if any(isinstance(case, (NewPairs, LinkFailure)) for case in cases) and not shutil.which("ovs-vswitchd", path=PATH):
        sys.exit("bench: Open vSwitch is missing: apt-get install openvswitch-switch")
    if os.geteuid() != 0:
        sys.exit("bench: it makes networks of its own, which takes root")
    where = tempfile.gettempdir()
    if file_system(where) in IN_MEMORY:
        sys.exit(f"bench: the state would be in memory, since {where} is no disk: set TMPDIR")


def main():
    """Measures, prints and writes."""
    args = arguments()
    settings = settings_of(args)
    cases = [case for case in CASES if case.name in KINDS] if args.short else list(CASES)
    if args.only:
        cases = [case for case in cases if re.search(args.only, case.name)]
    if not cases:
        sys.exit("bench: no case has such a name")
    expected = sum(case.duration(settings) for case in cases)
    if args.list:
        print("\n".join(f"{case.name} ({case.duration(settings):.0f} s)" for case in cases))
        return
    check_machine(settings, cases)
    print(f"bench: {len(cases)} cases, about {expected / 60:.1f} minutes", file=sys.stderr, flush=True)
    # This program must not run beside the controllers.
    os.sched_setaffinity(0, {int(GENERATOR)})
    report, begun = Report(settings), time.monotonic()
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.name}, about {case.duration(settings):.0f} s", file=sys.stderr, flush=True)
        try:
            case.run(settings, report)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            # The other cases are measured all the same.
            report.check(case.name, f"not measured: {error}")
    print(page.text(report) if not args.short else "every answer is as it should be")
    if args.write:
        page.write(args.write, page.text(report))
    missing = [wrong for wrong in report.wrong if "not measured" in wrong]
    if missing:
        sys.exit("bench: " + "\n".join(missing))
    print(f"bench: done in {(time.monotonic() - begun) / 60:.1f} minutes", file=sys.stderr, flush=True)
