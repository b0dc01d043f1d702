"""Prints the licence texts of the crates that an SBOM names: scripts/licenses.py SBOM, in CycloneDX's JSON.

Most licences require that their text is distributed with the program. Each text is printed once, below the names of
the crates that contain it. Fails if a crate has neither a licence text nor the name of a licence.
"""

import json
import pathlib
import subprocess
import sys

PATTERNS = ("LICEN[CS]E*", "COPYING*", "COPYRIGHT*", "NOTICE*", "UNLICENSE*")

with open(sys.argv[1], encoding="utf-8") as sbom:
    used = {(component["name"], component["version"]) for component in json.load(sbom)["components"]}
metadata = subprocess.run(
    ["cargo", "metadata", "--locked", "--format-version", "1"], check=True, capture_output=True
)
crates_by_text = {}
without_text = []
for package in json.loads(metadata.stdout)["packages"]:
    # The licence of this workspace's own crates is a file next to the printed list.
    if (package["name"], package["version"]) not in used or package["source"] is None:
        continue
    folder = pathlib.Path(package["manifest_path"]).parent
    crate = f"{package['name']} {package['version']} ({package['license'] or 'see the text'})"
    paths = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(paths):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        crates_by_text.setdefault(text, []).append(crate)
    if not paths:
        if not package["license"]:
            sys.exit(f"{crate} has neither a licence nor a text of one")
        without_text.append(crate)

print("The program contains these crates. Each licence text stands below the crates that have it.")
for text, crates in sorted(crates_by_text.items(), key=lambda item: item[1]):
    print("\n" + "=" * 100, *sorted(set(crates)), "-" * 100, text, sep="\n")
if without_text:
    print("\n" + "=" * 100, "These crates name a licence and have no text of it:", *sorted(without_text), sep="\n")
