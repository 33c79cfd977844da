"""`up` asks the witnesses that customhouse.yaml names, serves the ledger, and says when one has seen another past."""

from __future__ import annotations

import json
import re
from pathlib import Path

from up_world import RULES, UpWorld, notes

from customhouse._kit.clock import SystemClock
from customhouse._kit.http import request
from customhouse.app import wiring
from customhouse.app.ledger_witness_role import Serving
from customhouse.server.serving import Server
from customhouse.server.witness import witness_application
from customhouse.store import open_store
from customhouse.trust.cosignature import CosignerKey, cosignatures
from customhouse.trust.keys import generate, open_pair
from customhouse.trust.note import NoteKey, sign_checkpoint
from customhouse.trust.witness import Witness


def test_one_witness_cosigns_and_another_has_seen_a_longer_ledger(tmp_path: Path) -> None:
    log = open_pair(tmp_path / ".customhouse" / "keys", wiring.LEDGER_KEY)
    known, keys = [NoteKey(wiring.LEDGER_ORIGIN, log.public)], [generate(), generate()]
    with open_store(tmp_path / "w0.db") as first, open_store(tmp_path / "w1.db") as second:
        second.witnessed.advance(None, sign_checkpoint(wiring.LEDGER_ORIGIN, 1000, b"\1" * 32, log))
        witnesses = [
            Witness(opened.witnessed, key, f"w{number}.example", known, SystemClock())
            for number, (opened, key) in enumerate(zip((first, second), keys, strict=True))
        ]
        apps = [witness_application(Serving(each, None)) for each in witnesses]
        with Server(None, app=apps[0]) as one, Server(None, app=apps[1]) as two:
            section = {
                "witnesses": [
                    {"name": f"w{number}", "url": server.address.url, "key": each.cosigner.vkey}
                    for number, (server, each) in enumerate(zip((one, two), witnesses, strict=True))
                ],
                "quorum": 1,
            }
            world = UpWorld(tmp_path, RULES + f"ledger: {json.dumps(section)}\n")
            try:
                world.push({"models/notes.yaml": notes("a")})
                world.start()
                said = world.problem("w1 says it cosigned 1000 entries", "it was cut back")
                assert "w0" not in said
                url = re.findall(r"dashboard: (\S+);", world.said())[-1]
                served = request("GET", f"{url}ledger/checkpoint").body.decode()
                assert served.startswith(wiring.LEDGER_ORIGIN + "\n")
                status = world.cli("ledger", "witness", "status", "-o", "json")
                assert status.returncode == 5
                rows = {item["name"]: item for item in json.loads(status.stdout)["witnesses"]}
                assert rows["w0"]["size"] > 0
                assert rows["w1"]["size"] == 0
                proof = world.cli("ledger", "proof", "0", "--format", "tlog").stdout
                cosigners = [CosignerKey(f"w{number}.example", key.public) for number, key in enumerate(keys)]
                found = cosignatures(proof.partition("\n\n")[2], cosigners)
                assert [item.witness for item in found] == ["w0.example"]
                verified = world.cli("ledger", "verify")
                assert verified.returncode == 5
                assert "witness w1: w1 says it cosigned 1000 entries" in verified.stdout
                assert world.end() == 0
            finally:
                world.close()
