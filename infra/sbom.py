"""Add what the package carries beside Python's packages to a CycloneDX file of the environment.

usage: sbom.py FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from serving.report.viewer.bundle import NIIVUE, NIIVUE_SHA256

VERSION = NIIVUE.removeprefix("niivue-").removesuffix(".umd.js")
COMPONENT = {
    "type": "library",
    "bom-ref": "npm-niivue",
    "group": "@niivue",
    "name": "niivue",
    "version": VERSION,
    "purl": f"pkg:npm/%40niivue/niivue@{VERSION}",
    "licenses": [{"license": {"id": "BSD-2-Clause"}}],
    "hashes": [{"alg": "SHA-256", "content": NIIVUE_SHA256}],
}


def add_carried(bill: dict) -> None:
    """Add NiiVue to the components, and to what the package depends on."""
    bill["components"].append(COMPONENT)
    package = bill["metadata"]["component"]["bom-ref"]
    for entry in bill["dependencies"]:
        if entry["ref"] == package:
            entry.setdefault("dependsOn", []).append(COMPONENT["bom-ref"])
    bill["dependencies"].append({"ref": COMPONENT["bom-ref"]})


if __name__ == "__main__":
    path = Path(sys.argv[1])
    content = json.loads(path.read_text(encoding="utf-8"))
    add_carried(content)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
