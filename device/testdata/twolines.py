# A command line as Nokia SR Linux has one, of the same library: a prompt of two lines, a
# toolbar, suggestions from the history; and after "environment cli-engine type basic" a
# plain one, unless an argument says that it stays.
import readline
import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory

session = PromptSession(
    bottom_toolbar=lambda: "Current mode: running      admin (1)   time",
    auto_suggest=AutoSuggestFromHistory(),
)
session.history.append_string("environment cli-engine type basic # as before")
session.history.append_string("set / a very other line")
basic, mode, valid, candidate = False, "running", [], []
while True:
    prompt = "--{ + " + mode + " }--[  ]--\nA:admin@srl1# "
    try:
        line = input(prompt) if basic else session.prompt(prompt)
    except EOFError:
        break
    words = line.split()
    if line == "environment cli-engine type basic":
        basic = len(sys.argv) < 2
    elif words[:1] == ["environment"] or not words:
        pass
    elif words[:2] == ["enter", "candidate"]:
        mode, candidate = "candidate exclusive default", list(valid)
    elif words == ["enter", "running"]:
        mode = "running"
    elif words == ["discard", "now"]:
        mode = "running"
    elif words == ["commit", "now"]:
        mode, valid = "running", candidate
        print("All changes have been committed. Leaving candidate mode.")
    elif words[:2] == ["set", "/"] and "candidate" in mode and "nonsense" not in words:
        candidate.append(line)
    elif words[:2] == ["info", "flat"]:
        print("\n".join(valid))
    else:
        print("Parsing error: Unknown token '" + words[-1] + "'.")
    print(flush=True)
