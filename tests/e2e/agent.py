"""What runs inside virtual machines and does what the tests ask for.

`AGENT` is a program of its own: it knows nothing but Python's standard library. It
reads requests from a port of the virtual machine and answers there, one JSON document
a line: ``{"id", "command", "timeout", "input"}`` runs a command and answers
``{"id", "code", "output"}``, input and output in base64, the code ``null`` when it had
not ended in time.
"""

from __future__ import annotations

PORT = "org.acoupi.agent"
"""Name of the port."""

AGENT = '''\
"""Runs the commands of the tests; see tests/e2e/agent.py of acoupi."""
import base64, glob, json, os, signal, subprocess, sys, threading, time

NAME = "org.acoupi.agent"
ENVIRONMENT = {
    "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", "USER": "root",
    "PATH": "/opt/acoupi/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
}
lock = threading.Lock()


def find():
    while True:
        for path in glob.glob("/sys/class/virtio-ports/*/name"):
            with open(path) as file:
                if file.read().strip() == NAME:
                    return "/dev/" + path.split("/")[-2]
        time.sleep(0.05)


def answer(**fields):
    line = json.dumps(fields).encode() + b"\\n"
    with lock:
        while line:
            line = line[os.write(port, line):]


def run(id, command, timeout, given):
    process = subprocess.Popen(
        ["bash", "-c", "set -euo pipefail; " + command], env=ENVIRONMENT, cwd="/root",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(given, timeout=timeout)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        code = None
    answer(id=id, code=code, output=base64.b64encode(output).decode())


port = os.open(find(), os.O_RDWR)
with open("/proc/sys/kernel/random/boot_id") as file:
    boot = file.read().strip()
with open("/proc/uptime") as file:
    answer(hello=boot, uptime=float(file.read().split()[0]))
buffer = b""
while True:
    data = os.read(port, 65536)
    if not data:
        # Nobody is at the other end.
        time.sleep(0.05)
        continue
    buffer += data
    *lines, buffer = buffer.split(b"\\n")
    for line in lines:
        request = json.loads(line)
        threading.Thread(
            target=run, daemon=True,
            args=(
                request["id"], request["command"], request.get("timeout"),
                base64.b64decode(request.get("input", "")),
            ),
        ).start()
'''
