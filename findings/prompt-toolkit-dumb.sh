#!/usr/bin/env bash
# prompt_toolkit 3.0.36 (Debian 12, python3-prompt-toolkit 3.0.36-2), on a terminal that
# says TERM=dumb.
#
# What is typed is shown; what is erased is not. Control-U and Backspace change the line
# that is accepted, and nothing on the screen: neither a backspace nor another line is
# sent. Whoever reads the screen to know what the program has got, reads another line
# than it took. With TERM=vt100 the line is drawn again.
#
# Seen, for the keys "wrong", Control-U, "right", Return:
#   dumb    on the screen "> wrongright", accepted "right"
#   vt100   on the screen "> right", accepted "right"
#
# Needs Debian 12 with python3; the packages are unpacked into a folder for the time being.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
(cd "$dir" && apt-get -q -o APT::Sandbox::User=root download python3-prompt-toolkit=3.0.36-2 python3-wcwidth=0.2.5+dfsg1-1.1 >/dev/null)
for package in "$dir"/*.deb; do dpkg -x "$package" "$dir/root"; done
export PYTHONPATH=$dir/root/usr/lib/python3/dist-packages

cat >"$dir/asks.py" <<'PYTHON'
from prompt_toolkit import prompt
print("accepted:", prompt("> "), flush=True)
PYTHON

# It types, and draws what comes on a screen of one row: printable characters, backspace,
# return, and the sequences that move the cursor or erase to the end of the row.
cat >"$dir/typist.py" <<'PYTHON'
import os, pty, re, sys, termios, time

term, program = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = term
    os.environ["PROMPT_TOOLKIT_NO_CPR"] = "1"
    os.execv("/usr/bin/python3", ["python3", program])

said = ""
def wait(done):
    global said
    while not done():
        said += os.read(fd, 4096).decode()

def row(text):
    cells, at = [], 0
    for m in re.finditer(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", text, re.S):
        n, final, char = m.groups()
        if final == "D": at = max(0, at - int(n or 1))
        elif final == "C": at += int(n or 1)
        elif final in ("K", "J") and n in ("", "0"): del cells[at:]
        elif char == "\r": at = 0
        elif char == "\b": at = max(0, at - 1)
        elif char and char >= " ":
            cells += " " * (at + 1 - len(cells))
            cells[at] = char
            at += 1
    return "".join(cells).rstrip()

def last(): return row(said.split("\n")[-1])
wait(lambda: last() == ">")
while termios.tcgetattr(fd)[3] & termios.ECHO: # until it is the program that echoes
    time.sleep(0.01)
os.write(fd, b"wrong\x15right")
wait(lambda: last().endswith("right"))
shown = last()
os.write(fd, b"\r")
answer = re.compile(r"accepted: ([^\r\n]*)\r?\n")
wait(lambda: answer.search(said))
accepted = answer.search(said).group(1)
os.waitpid(pid, 0)
print(f"{term}: on the screen \"{shown}\", accepted \"{accepted}\"")
PYTHON

failed=0
expect() { # TERM LINE
	local got
	got=$(timeout 60 /usr/bin/python3 "$dir/typist.py" "$1" "$dir/asks.py") || :
	echo "$got"
	[[ $got == "$2" ]] || { echo "expected was $2" && failed=1; }
}

expect dumb 'dumb: on the screen "> wrongright", accepted "right"'
expect vt100 'vt100: on the screen "> right", accepted "right"'
exit "$failed"
