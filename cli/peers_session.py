# SPDX-License-Identifier: Apache-2.0
#
# How every peers' program ends. What comes before has PEERS, a class for each name, and Case, which
# makes what load takes of a request.
#
# Reads requests and writes answers, JSON objects on a line each. First {"threads": N, "peers":
# [names]}; the answer has the "versions" of those that are there and why the others are "missing". Then
# any number of
#   {"do": "load", ...}                a case; no peer has been asked before the first
#   {"do": "prepare", "peer": name}    makes what the peer needs of the case
#   {"do": "run", "peer": name}        computes once: {"seconds": ...}
#   {"do": "tell", "peer": name}       what the peer computes
# An answer with "error" says why a peer cannot.

import json
import os
import sys
import time


class Session:
    def __init__(self, request):
        # Before any of them starts its threads.
        processors = sorted(os.sched_getaffinity(0))[:request["threads"]]
        os.sched_setaffinity(0, processors)
        self.peers, self.missing = {}, {}
        self.case, self.loaded = None, set()
        for name in request["peers"]:
            try:
                self.peers[name] = PEERS[name](request["threads"])
            except (Exception, SystemExit) as error:
                self.missing[name] = f"{type(error).__name__}: {error}"

    def answer(self, request):
        if request["do"] == "load":
            self.case, self.loaded = request, set()
            return {}
        name = request["peer"]
        peer = self.peers[name]
        if name not in self.loaded:
            peer.load(Case(self.case))
            self.loaded.add(name)
        if request["do"] == "prepare":
            return {}
        if request["do"] == "tell":
            return peer.tell(name)
        begin = time.perf_counter()
        peer.run()
        seconds = time.perf_counter() - begin
        peer.settle()
        return {"seconds": seconds}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What the libraries print is no answer.

    def reply(answer):
        print(json.dumps(answer), file=answers, flush=True)

    session = Session(json.loads(sys.stdin.readline()))
    reply({"versions": {name: peer.version for name, peer in session.peers.items()},
           "missing": session.missing})
    for line in sys.stdin:
        try:
            reply(session.answer(json.loads(line)))
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {error}"[:4000]})


if __name__ == "__main__":
    main()
