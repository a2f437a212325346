"""Writes the rules of a kind of firewall from a file of Aerleon's, which standard input has, with
the generators of Capirca: Aerleon is made from it and has the same, and Debian has no Aerleon.

usage: generate.py TARGET < FILE             a target that the file names
       generate.py TARGET OPTIONS < FILE     another one, in place of those
"""

import importlib
import sys

import yaml
from capirca.lib import naming, policy

generators = {
    "arista": "arista.Arista",
    "cisco": "cisco.Cisco",
    "ciscoxr": "ciscoxr.CiscoXR",
    "juniper": "juniper.Juniper",
    "packetfilter": "packetfilter.PacketFilter",
    "paloalto": "paloaltofw.PaloAltoFW",
    "srx": "junipersrx.JuniperSRX",
}

# Capirca has another language for the same, so what the file has is written in that.
data = yaml.safe_load(sys.stdin)
definitions = naming.Naming()
for name, network in data["networks"].items():
    definitions.ParseNetworkList(["%s = %s" % (name, " ".join(v["address"] for v in network["values"]))])
for name, ports in data["services"].items():
    definitions.ParseServiceList(["%s = %s" % (name, " ".join("%s/%s" % (p["port"], p["protocol"]) for p in ports))])

text = []
for f in data["filters"]:
    targets = f["header"]["targets"]
    if len(sys.argv) > 2:
        targets = {sys.argv[1]: sys.argv[2]}
    text.append("header {")
    text.append('  comment:: "%s"' % f["header"]["comment"])
    text += ["  target:: %s %s" % t for t in targets.items()]
    text.append("}")
    for term in f["terms"]:
        text.append("term %s {" % term.pop("name"))
        text.append('  comment:: "%s"' % term.pop("comment"))
        text += ["  %s:: %s" % (k, " ".join(v) if isinstance(v, list) else v) for k, v in term.items()]
        text.append("}")

pol = policy.ParsePolicy("\n".join(text), definitions, shade_check=True)
module, name = generators[sys.argv[1]].split(".")
print(getattr(importlib.import_module("capirca.lib." + module), name)(pol, 1000))
